// @ts-check
import { ApiError, cancelStream, createStream, eventsUrl, listModels, readStream } from './api.js';
import { forgetTurn, loadTurns, openStorage, pruneTurns, saveTurn } from './archive.js';
import { backoffMs, followStream } from '../client/src/client.js';
import { messagesFor, newTurn } from './conversation.js';
import { isWorthRetrying, ownFault, unknownStream } from '../client/src/failure.js';
import { addGap, applyEvent, applyState, isOver } from '../client/src/message.js';
import { Painter } from './painter.js';
import { RunningList } from './running.js';
import { View } from './view.js';
import { announcement, handoverWords, statusWords } from './wording.js';
import { WorkerWatch } from './workers.js';

/** @typedef {import('../client/src/client.js').FollowState} FollowState */
/** @typedef {import('../client/src/client.js').StreamEvent} StreamEvent */
/** @typedef {import('./conversation.js').Turn} Turn */

const TICK_MS = 200;
const MODELS_AGAIN_MS = 1_000;
// How long the status line tells of another worker that took over.
const HANDOVER_MS = 6_000;
const DELETED = 'stream_deleted';
const STREAM_ID = /^[0-9a-f]{32}$/;
const MODEL_KEY = 'tailrace.model';

/** A conversation on a page: what is asked, followed, stopped and asked again. The URL names the last stream. */
export class Chat {
  #storage = openStorage();
  #painter = new Painter(() => this.#paint());
  #running = new RunningList(this.#storage);
  #workers = new WorkerWatch();
  #view = new View({
    onAsk: (prompt) => this.#ask(prompt),
    onStop: () => this.#stop(),
    onRetry: () => this.#retry(),
    onNew: () => this.#leave(),
    onModel: () => this.#storage?.setItem(MODEL_KEY, this.#view.model),
    onResize: () => this.#painter.touch(),
  });

  /** @type {readonly Turn[]} */
  #turns = [];
  /** @type {FollowState | null} */
  #state = null;
  /** The one answer being started or followed. @type {AbortController | null} */
  #run = null;
  /** The connection of that answer; let go while the stop is sent. @type {AbortController | null} */
  #line = null;
  /** The stop that is on its way. @type {Promise<void>} */
  #stopSent = Promise.resolve();
  /** The id of the last event of the answer being followed. */
  #cursor = '';
  #heardMs = 0;
  #handover = { words: '', untilMs: 0 };
  #stopping = false;
  #notice = '';
  #nextAttemptMs = 0;

  start() {
    pruneTurns(this.#storage, Date.now());
    setInterval(() => this.#tick(), TICK_MS);
    window.addEventListener('popstate', () => this.#openFromUrl());
    this.#offerModels();
    this.#openFromUrl();
    this.#view.focusPrompt();
  }

  async #offerModels() {
    for (let attempt = 1; ; attempt += 1) {
      const models = await listModels().catch(() => null);
      if (models !== null) {
        if (this.#state === null) this.#say('');
        return this.#view.offerModels(models, this.#storage?.getItem(MODEL_KEY) ?? '');
      }
      if (this.#state === null) this.#say('The server does not answer yet. Trying again…');
      await new Promise((resolve) => setTimeout(resolve, backoffMs(attempt, MODELS_AGAIN_MS)));
    }
  }

  #openFromUrl() {
    this.#hangUp();
    const stream = streamInUrl();
    const kept = loadTurns(this.#storage, stream);
    this.#turns = stream === '' || kept.length > 0 ? kept : [newTurn('', { stream })];
    this.#state = null;
    this.#view.followEnd();
    if (stream !== '') this.#begin((run) => this.#reopen(run, stream));
    this.#painter.touch();
  }

  /** An answer that is over is not waited for: its last figures may come or not. */
  get #isBusy() {
    return this.#run !== null && this.#state?.name !== 'ended' && this.#state?.name !== 'failed';
  }

  /** @param {string} prompt */
  #ask(prompt) {
    if (this.#isBusy) return;
    // A question the server never took is given up for the next one.
    const sent = this.#turns.filter(({ stream }) => stream !== '');
    const before = sent.at(-1)?.stream ?? '';
    this.#turns = [...sent, newTurn(prompt, { model: this.#view.model, before, createdMs: Date.now() })];
    this.#begin((run) => this.#create(run));
  }

  #retry() {
    const last = this.#turns.at(-1);
    if (last === undefined || this.#isBusy) return;
    const { prompt, stream, message, before } = last;
    if (prompt === '') {
      this.#begin((run) => this.#reopen(run, stream));
      return;
    }
    const next = newTurn(prompt, { model: this.#view.model, before, createdMs: Date.now() });
    // Perhaps the server did hear us: the same key cannot start a second answer.
    const key = stream === '' && message.model === next.message.model ? last.key : next.key;
    this.#turns = [...this.#turns.slice(0, -1), { ...next, key }];
    this.#begin((run) => this.#create(run));
  }

  async #stop() {
    if (!this.#isBusy || this.#stopping) return;
    this.#stopping = true;
    this.#say('');
    const stream = this.#turns.at(-1)?.stream ?? '';
    if (stream !== '') await this.#cancel(stream); // else #create does it, as soon as it knows what to stop
  }

  /**
   * Tell the server. Our own connection goes first: over HTTP/1.1 a browser opens six to a server, for all its tabs, and
   * with six of them live a stop would wait behind the very answers that it is to end.
   * @param {string} stream
   */
  async #cancel(stream) {
    const run = this.#run;
    this.#line?.abort();
    const sent = cancelStream(stream);
    this.#stopSent = sent.catch(() => {});
    try {
      await sent;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (run !== this.#run) return;
      this.#stopping = false;
      this.#say('Could not stop it. Try again.');
    }
  }

  /** Show an empty page. The answer goes on without us. */
  #leave() {
    this.#hangUp();
    history.pushState(null, '', '/');
    this.#openFromUrl();
    this.#view.focusPrompt();
  }

  #hangUp() {
    this.#run?.abort();
    this.#run = null;
    this.#workers.end();
    this.#handover.untilMs = 0;
    this.#stopping = false;
    this.#notice = '';
  }

  /**
   * Make something the one thing the page is busy with.
   * @param {(run: AbortController) => Promise<void>} task
   */
  async #begin(task) {
    this.#hangUp();
    const run = new AbortController();
    this.#run = run;
    this.#view.followEnd();
    this.#view.focusPrompt();
    this.#cursor = '';
    this.#heardMs = Date.now();
    this.#workers.begin(this.#heardMs);
    this.#onState({ name: 'connecting' });
    try {
      await task(run);
    } catch (error) {
      const failure = error instanceof ApiError ? error.failure : ownFault();
      if (!run.signal.aborted) this.#onState({ name: 'failed', error: failure });
      if (!(error instanceof ApiError)) throw error; // for the console
    } finally {
      if (this.#run === run) this.#hangUp();
      this.#painter.touch();
    }
  }

  /** @param {AbortController} run */
  async #create(run) {
    const turn = /** @type {Turn} */ (this.#turns.at(-1));
    const { message, key } = turn;
    // The question is in the messages alone, which the server deletes with the end of the answer.
    const { messages, omitted } = messagesFor(this.#turns);
    this.#change({ omitted });
    const stream = await createStream({ model: message.model, messages }, key);
    if (run.signal.aborted) return;
    this.#change({ stream });
    this.#save();
    showInUrl(stream);
    if (this.#stopping) this.#cancel(stream);
    await this.#follow(run, stream);
  }

  /**
   * Follow a stream somebody else may have asked for.
   * @param {AbortController} run
   * @param {string} stream
   */
  async #reopen(run, stream) {
    if (!STREAM_ID.test(stream)) throw new ApiError(unknownStream());
    await this.#completeEarlier(run);
    const last = /** @type {Turn} */ (this.#turns.at(-1));
    if (isOver(last.message)) return this.#confirm(run, stream);
    const described = this.#describe(run, stream);
    await this.#follow(run, stream);
    await described;
  }

  /**
   * Earlier answers that this browser did not see to their end: the server may have them still.
   * @param {AbortController} run
   */
  async #completeEarlier(run) {
    for (const { stream, message } of this.#turns.slice(0, -1)) {
      if (isOver(message)) continue;
      const state = await readStream(stream).catch(() => null);
      if (run.signal.aborted) return;
      const whole = state === null ? addGap(message, 'no_longer_kept') : applyState(message, state);
      this.#turns = this.#turns.map((turn) => (turn.stream === stream ? { ...turn, message: whole } : turn));
    }
    this.#painter.touch();
  }

  /**
   * This browser has the whole answer: all that can have happened to it is that somebody deleted it.
   * @param {AbortController} run
   * @param {string} stream
   */
  async #confirm(run, stream) {
    this.#onState({ name: 'ended' });
    try {
      await readStream(stream);
    } catch (error) {
      if (!run.signal.aborted && error instanceof ApiError && error.failure.code === DELETED) throw error;
    }
  }

  /**
   * Learn the question and the times from the server.
   * @param {AbortController} run
   * @param {string} stream
   */
  async #describe(run, stream) {
    const state = await readStream(stream).catch(() => null); // following says better what is wrong
    const last = this.#turns.at(-1);
    if (state === null || run.signal.aborted || last === undefined) return;
    const prompt = last.prompt || String(state.metadata?.prompt ?? '');
    this.#change({ prompt, times: timesOf(state, last.times) });
  }

  /**
   * @param {AbortController} run
   * @param {string} stream
   */
  async #follow(run, stream) {
    for (;;) {
      const line = new AbortController();
      this.#line = line;
      run.signal.addEventListener('abort', () => line.abort(), { once: true });
      const end = await followStream(eventsUrl(stream), {
        signal: line.signal,
        lastEventId: this.#cursor,
        onEvent: (event, id) => this.#onEvent(event, id),
        onState: (state) => this.#onState(state),
      });
      if (run.signal.aborted) return;
      if (end.name === 'ended') return this.#settle(run, stream);
      if (!line.signal.aborted) return;
      await this.#stopSent; // let go for a stop: afterwards there is an end to hear of
      if (run.signal.aborted) return;
    }
  }

  /**
   * The end is here: take the server's own figures, and its text if there was nothing to follow.
   * @param {AbortController} run
   * @param {string} stream
   */
  async #settle(run, stream) {
    this.#save();
    const state = await readStream(stream).catch(() => null); // only figures would be missing
    const last = this.#turns.at(-1);
    if (state === null || run.signal.aborted || last === undefined) return;
    const message = isOver(last.message) ? last.message : applyState(last.message, state);
    this.#change({ message, times: timesOf(state, last.times) });
    this.#save();
  }

  /**
   * @param {StreamEvent} event
   * @param {string} [id]
   */
  #onEvent(event, id) {
    const last = /** @type {Turn} */ (this.#turns.at(-1));
    const message = applyEvent(last.message, event, id);
    this.#cursor = id ?? this.#cursor;
    this.#heardMs = Date.now();
    if (event.type !== 'start') this.#workers.end();
    const words = handoverWords(last.message, message, event);
    if (words !== '') this.#handover = { words, untilMs: this.#heardMs + HANDOVER_MS };
    const times = { ...last.times };
    if (event.type === 'start' && times.created === 0) times.created = Number(event.created_ms ?? 0);
    if (message.parts.length > 0 && times.first === 0) times.first = Date.now();
    if (isOver(message)) times.finished = Date.now();
    this.#change({ message, times });
  }

  /**
   * Somebody deleted it: neither question nor answer stays in this browser.
   * @param {Turn} turn
   */
  #forget({ stream, before }) {
    forgetTurn(this.#storage, stream);
    this.#turns = [...this.#turns.slice(0, -1), newTurn('', { stream, before })];
  }

  /** @param {FollowState} state */
  #onState(state) {
    const last = this.#turns.at(-1);
    // What this tab keeps is whole, even if the server has forgotten it.
    const isDeleted = state.name === 'failed' && state.error.code === DELETED;
    if (isDeleted && last !== undefined) this.#forget(last);
    const isKept = state.name === 'failed' && !isDeleted && last !== undefined && isOver(last.message);
    this.#state = isKept ? { name: 'ended' } : state;
    if (state.name === 'live') this.#heardMs = Date.now();
    if (state.name === 'failed' && last?.stream === '' && !isWorthRetrying(state.error)) this.#view.giveBack(last.prompt);
    this.#notice = '';
    this.#nextAttemptMs = state.name === 'reconnecting' ? Date.now() + state.in_ms : 0;
    this.#painter.touch();
  }

  /** @param {Partial<Turn>} news  of the last turn */
  #change(news) {
    const last = /** @type {Turn} */ (this.#turns.at(-1));
    this.#turns = [...this.#turns.slice(0, -1), { ...last, ...news }];
    this.#painter.touch();
  }

  #save() {
    saveTurn(this.#storage, /** @type {Turn} */ (this.#turns.at(-1)), Date.now());
  }

  /** @param {string} notice  shown in place of the connection's state until something happens */
  #say(notice) {
    this.#notice = notice;
    this.#painter.touch();
  }

  /** Time goes on in the figures and in the countdown. */
  #tick() {
    const nowMs = Date.now();
    if (this.#run !== null) this.#painter.touch();
    this.#workers.tick(nowMs);
    if (this.#turns.length === 0) this.#running.tick(nowMs);
    else this.#running.hide();
  }

  #paint() {
    const state = this.#state;
    const turns = this.#turns;
    const last = turns.at(-1) ?? null;
    const nowMs = Date.now();
    const now = {
      stopping: this.#stopping,
      leftMs: this.#nextAttemptMs - nowMs,
      quietMs: nowMs - this.#heardMs,
      nobodyThere: this.#workers.isNobodyThere,
      handover: nowMs < this.#handover.untilMs ? this.#handover.words : '',
    };
    document.title = titleOf(turns);
    this.#view.show({
      state: state?.name ?? 'idle',
      status: this.#notice || statusWords(state, last, now),
      announcement: this.#notice || announcement(state, last?.message ?? null, now),
      busy: this.#isBusy,
      stopping: this.#stopping,
      turns,
      failure: state?.name === 'failed' ? state.error : null,
      nowMs,
    });
  }
}

/** @returns {string} empty: the page of no stream */
function streamInUrl() {
  return new URLSearchParams(location.search).get('stream') ?? '';
}

/**
 * Name the stream in the address, so that a reload or another tab finds it. Only the first of a conversation makes a
 * step in the history: Back leads out of it, not through its questions.
 * @param {string} stream
 */
function showInUrl(stream) {
  const url = `/?stream=${stream}`;
  if (streamInUrl() === '') history.pushState(null, '', url);
  else history.replaceState(null, '', url);
}

/**
 * @param {readonly Turn[]} turns
 * @returns {string}
 */
function titleOf(turns) {
  const prompt = turns.at(-1)?.prompt ?? '';
  return prompt === '' ? 'Tailrace' : `${prompt.slice(0, 60)} · Tailrace`;
}

/**
 * The server's clock rather than ours: its three times belong together.
 * @param {Record<string, any>} state
 * @param {import('./conversation.js').Times} known
 * @returns {import('./conversation.js').Times}
 */
function timesOf(state, known) {
  return {
    created: state.created_ms ?? known.created,
    first: state.first_ms ?? known.first,
    finished: state.finished_ms ?? known.finished,
  };
}
