// @ts-check
import { Attention } from './attention.js';
import { gaveUp, isTransient, readFailure } from './failure.js';
import { Line } from './line.js';
import { SseParser } from './sse.js';

/** @typedef {import('./failure.js').Failure} Failure */

/**
 * An event of the stream as it came. Its id is apart, because a tool call has an `id` of its own.
 * @typedef {{type: string, [field: string]: any}} StreamEvent
 */

/**
 * @typedef {{name: 'connecting'}
 *   | {name: 'live'}
 *   | {name: 'reconnecting', attempt: number, in_ms: number, reason: string}
 *   | {name: 'resting'}
 *   | {name: 'ended'}
 *   | {name: 'failed', error: Failure}} FollowState
 */

/**
 * `capMs` bounds the backoff, `stallMs` the silence on a connection, `quietMs` the silence forgiven when the machine
 * wakes up (heartbeats come every 10 s), `restMs` how long a hidden tab keeps its connection, `serverCapMs` what a
 * server may ask for, `maxAttempts` the attempts in a row that bring no event.
 * @typedef {object} FollowLimits
 * @property {number} baseMs
 * @property {number} capMs
 * @property {number} stallMs
 * @property {number} quietMs
 * @property {number} restMs
 * @property {number} serverCapMs
 * @property {number} maxAttempts
 */

/**
 * @typedef {object} FollowOptions
 * @property {(event: StreamEvent, id?: string) => void} onEvent  each event once, in order; not `reconnect`
 * @property {(state: FollowState) => void} [onState]
 * @property {string} [lastEventId]  go on after this event; without it from the start
 * @property {AbortSignal} [signal]  stops following; the stream itself goes on
 * @property {Record<string, string>} [headers]  more request headers, such as Authorization
 * @property {Partial<FollowLimits>} [limits]
 */

/**
 * How a connection ended; a lost one is opened again, not before `waitMs`.
 * @typedef {{kind: 'ended'}
 *   | {kind: 'failed', error: Failure}
 *   | {kind: 'lost', reason: string, waitMs: number}} Outcome
 */

/** @type {Readonly<FollowLimits>} */
export const LIMITS = Object.freeze({
  baseMs: 250,
  capMs: 8_000,
  stallMs: 25_000,
  quietMs: 12_000,
  restMs: 10_000,
  serverCapMs: 60_000,
  maxAttempts: Infinity,
});

const TERMINAL = new Set(['done', 'error', 'cancelled']);

/**
 * Follow a stream until its terminal event, over as many connections as it takes.
 * Resolves with the last state: `ended`, `failed`, or, when `signal` was aborted, whatever it was. Rejects only with
 * what `onEvent` or `onState` threw.
 * @param {string | URL} url  of `/v1/streams/{id}/events`
 * @param {FollowOptions} options
 * @returns {Promise<FollowState>}
 */
export function followStream(url, options) {
  return new Follower(url, options).run();
}

/**
 * How long to wait before an attempt: exponential with full jitter, but never less than what the server asked for.
 * @param {number} attempt  1 for the first
 * @param {number} floorMs
 * @param {FollowLimits} limits
 * @param {() => number} random  in [0, 1)
 * @returns {number} milliseconds
 */
export function backoffMs(attempt, floorMs, limits = LIMITS, random = Math.random) {
  const ceilingMs = Math.min(limits.capMs, limits.baseMs * 2 ** (attempt - 1));
  return Math.round(Math.max(Math.min(floorMs, limits.serverCapMs), random() * ceilingMs));
}

class Follower {
  #url;
  #options;
  /** @type {FollowLimits} */
  #limits;
  #lastEventId;
  #attempt = 0;
  #retryMs = 0;
  /** @type {FollowState} */
  #state = { name: 'connecting' };
  #attention;

  /**
   * @param {string | URL} url
   * @param {FollowOptions} options
   */
  constructor(url, options) {
    this.#url = url;
    this.#options = options;
    this.#limits = { ...LIMITS, ...options.limits };
    this.#lastEventId = options.lastEventId ?? '';
    this.#attention = new Attention(this.#limits.restMs);
  }

  /** @returns {Promise<FollowState>} */
  async run() {
    try {
      this.#tell({ name: 'connecting' });
      while (!this.#aborted && this.#state.name !== 'ended' && this.#state.name !== 'failed') {
        if (this.#attention.isResting) await this.#rest();
        else await this.#react(await this.#connect());
      }
      return this.#state;
    } finally {
      this.#attention.close();
    }
  }

  get #aborted() {
    return this.#options.signal?.aborted ?? false;
  }

  /** @param {FollowState} state */
  #tell(state) {
    if (this.#aborted) return;
    this.#state = state;
    this.#options.onState?.(state);
  }

  /** @param {Outcome} outcome */
  async #react(outcome) {
    if (this.#aborted) return;
    if (outcome.kind === 'ended') return this.#tell({ name: 'ended' });
    if (outcome.kind === 'failed') return this.#tell({ name: 'failed', error: outcome.error });
    if (this.#attention.isResting) return;
    this.#attempt += 1;
    if (this.#attempt > this.#limits.maxAttempts) return this.#tell({ name: 'failed', error: gaveUp(outcome.reason) });
    const { reason } = outcome;
    const waitMs = backoffMs(this.#attempt, Math.max(this.#retryMs, outcome.waitMs), this.#limits);
    this.#tell({ name: 'reconnecting', attempt: this.#attempt, in_ms: waitMs, reason });
    await this.#pause(waitMs);
    this.#tell({ name: 'reconnecting', attempt: this.#attempt, in_ms: 0, reason });
  }

  /** Wait without a connection until the reader comes back. */
  async #rest() {
    this.#tell({ name: 'resting' });
    await this.#untilWoken();
    this.#tell({ name: 'connecting' });
  }

  /**
   * Wait, but not when the network or the reader comes back.
   * @param {number} waitMs
   */
  async #pause(waitMs) {
    const waiting = this.#untilWoken();
    const timer = setTimeout(this.#attention.onWake, waitMs);
    await waiting;
    clearTimeout(timer);
  }

  async #untilWoken() {
    const { signal } = this.#options;
    if (this.#aborted) return; // by who was just told of the wait
    await new Promise((resolve) => {
      this.#attention.onWake = () => resolve(undefined);
      signal?.addEventListener('abort', this.#attention.onWake, { once: true });
    });
    signal?.removeEventListener('abort', this.#attention.onWake);
    this.#attention.onWake = () => {};
  }

  /**
   * Open one connection and read it to its end.
   * @returns {Promise<Outcome>}
   */
  async #connect() {
    const { signal } = this.#options;
    const line = new Line(this.#limits);
    const hangUp = () => line.cut('closed');
    signal?.addEventListener('abort', hangUp, { once: true });
    this.#attention.onWake = () => line.cutIfQuiet();
    this.#attention.onRest = () => line.cut('resting');
    try {
      return await this.#converse(line);
    } finally {
      this.#attention.onWake = this.#attention.onRest = () => {};
      signal?.removeEventListener('abort', hangUp);
      line.cut('closed'); // also frees a response that was not read to its end
    }
  }

  /**
   * @param {Line} line
   * @returns {Promise<Outcome>}
   */
  async #converse(line) {
    /** @type {Record<string, string>} */
    // `Prefer`: the status of a refusal, and not a connection that waits, which is for EventSource.
    const headers = { Accept: 'text/event-stream', Prefer: 'wait=0', ...this.#options.headers };
    if (this.#lastEventId !== '') headers['Last-Event-ID'] = this.#lastEventId;
    const response = await line.open(this.#url, headers);
    if (response === null) return lost(line.reason);
    const refusal = await refusalOf(response);
    if (refusal !== null) return refusal;
    this.#tell({ name: 'live' });
    line.attach(response);
    const parser = new SseParser();
    for (let bytes = await line.read(); bytes !== null; bytes = await line.read()) {
      for (const frame of parser.feed(bytes)) {
        const outcome = this.#take(frame);
        if (outcome !== null) return outcome;
      }
    }
    return lost(line.reason);
  }

  /**
   * @param {import('./sse.js').Frame} frame
   * @returns {Outcome | null} what ends the connection, or null
   */
  #take(frame) {
    if (frame.retryMs !== undefined) this.#retryMs = Math.min(frame.retryMs, this.#limits.capMs);
    const event = frame.data === undefined ? null : parseEvent(frame.data);
    // Not skipped: the cursor stays where it is, so that the next connection brings the event whole.
    if (event === undefined) return lost('garbled');
    if (event?.type === 'reconnect') return lost('moved', Number(event.retry_ms) || 0);
    // Ids are sticky in SSE: an event without its own still carries the one before.
    const newId = frame.id === this.#lastEventId ? undefined : frame.id;
    if (event !== null) this.#options.onEvent(event, newId);
    if (newId !== undefined) this.#advance(newId);
    if (this.#aborted) return lost('closed');
    return event !== null && TERMINAL.has(event.type) ? { kind: 'ended' } : null;
  }

  /**
   * Only an event with an id is progress: a server that dies after `start` every time must not be asked without pause.
   * @param {string} id
   */
  #advance(id) {
    this.#lastEventId = id;
    this.#attempt = 0;
  }
}

/**
 * @param {Response} response
 * @returns {Promise<Outcome | null>} null: it is an event stream, read it
 */
async function refusalOf(response) {
  if (response.status === 204) return { kind: 'ended' };
  if (response.ok && isEventStream(response)) return null;
  const error = await readFailure(response);
  // A server that knows better says so: a misconfigured store is a 500 that no repetition cures.
  if (isTransient(response.status) && error.retryable) return lost(`http_${response.status}`, error.retry_after_ms);
  return { kind: 'failed', error };
}

/** @param {Response} response */
function isEventStream(response) {
  return (response.headers.get('content-type') ?? '').startsWith('text/event-stream');
}

/**
 * @param {string} reason
 * @param {number} waitMs
 * @returns {Outcome}
 */
function lost(reason, waitMs = 0) {
  return { kind: 'lost', reason, waitMs };
}

/**
 * @param {string} data
 * @returns {StreamEvent | undefined} undefined: this is no event
 */
function parseEvent(data) {
  try {
    const event = JSON.parse(data);
    return typeof event?.type === 'string' ? event : undefined;
  } catch {
    return undefined;
  }
}
