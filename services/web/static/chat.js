// @ts-check
import { ApiError, cancelStream, createStream, eventsUrl, listModels, readStream } from './api.js';
import { backoffMs, followStream } from './client.js';
import { loadTurns, messagesFor, newTurn, openStorage, saveTurns } from './conversation.js';
import { ownFault, unknownStream } from './failure.js';
import { applyEvent, applyState, isOver } from './message.js';
import { Painter } from './painter.js';
import { View } from './view.js';
import { announcement, statusWords } from './wording.js';

/** @typedef {import('./client.js').FollowState} FollowState */
/** @typedef {import('./client.js').StreamEvent} StreamEvent */
/** @typedef {import('./conversation.js').Turn} Turn */

const TICK_MS = 200;
const MODELS_AGAIN_MS = 1_000;
const METADATA_CHARS = 2_000;
const STREAM_ID = /^[0-9a-f]{32}$/;
const MODEL_KEY = 'tailrace.model';

/** A conversation on a page: what is asked, followed, stopped and asked again. The URL names the last stream. */
export class Chat {
  #storage = openStorage();
  #painter = new Painter(() => this.#paint());
  #view = new View({
    onAsk: (prompt) => this.#ask(prompt),
    onStop: () => this.#stop(),
    onRetry: () => this.#retry(),
    onNew: () => this.#leave(),
    onModel: () => this.#storage?.setItem(MODEL_KEY, this.#view.model),
  });

  /** @type {readonly Turn[]} */
  #turns = [];
  /** @type {FollowState | null} */
  #state = null;
  /** The one answer being started or followed. @type {AbortController | null} */
  #run = null;
  #stopping = false;
  #notice = '';
  #nextAttemptMs = 0;

  start() {
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
    const kept = stream === '' ? [] : loadTurns(this.#storage, stream);
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
    this.#turns = [...sent, newTurn(prompt, { model: this.#view.model, createdMs: Date.now() })];
    this.#begin((run) => this.#create(run));
  }

  #retry() {
    const last = this.#turns.at(-1);
    if (last === undefined || this.#isBusy) return;
    const { prompt, stream, message } = last;
    if (prompt === '') {
      this.#begin((run) => this.#reopen(run, stream));
      return;
    }
    const next = newTurn(prompt, { model: this.#view.model, createdMs: Date.now() });
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

  /** @param {string} stream */
  async #cancel(stream) {
    const run = this.#run;
    try {
      await cancelStream(stream);
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
    const { prompt, message, key } = turn;
    const metadata = { prompt: Array.from(prompt).slice(0, METADATA_CHARS).join('') }; // cuts no character in two
    const stream = await createStream({ model: message.model, messages: messagesFor(this.#turns), metadata }, key);
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
    const described = this.#describe(run, stream);
    await this.#follow(run, stream);
    await described;
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
    const end = await followStream(eventsUrl(stream), {
      signal: run.signal,
      onEvent: (event) => this.#onEvent(event),
      onState: (state) => this.#onState(state),
    });
    if (run.signal.aborted || end.name !== 'ended') return;
    await this.#settle(run, stream);
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

  /** @param {StreamEvent} event */
  #onEvent(event) {
    const last = /** @type {Turn} */ (this.#turns.at(-1));
    const message = applyEvent(last.message, event);
    const times = { ...last.times };
    if (event.type === 'start' && times.created === 0) times.created = Number(event.created_ms ?? 0);
    if (message.parts.length > 0 && times.first === 0) times.first = Date.now();
    if (isOver(message)) times.finished = Date.now();
    this.#change({ message, times });
  }

  /** @param {FollowState} state */
  #onState(state) {
    const last = this.#turns.at(-1);
    // What this tab keeps is whole, even if the server has forgotten it.
    const isKept = state.name === 'failed' && last !== undefined && isOver(last.message);
    this.#state = isKept ? { name: 'ended' } : state;
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
    saveTurns(this.#turns, this.#storage);
  }

  /** @param {string} notice  shown in place of the connection's state until something happens */
  #say(notice) {
    this.#notice = notice;
    this.#painter.touch();
  }

  /** Time goes on in the figures and in the countdown. */
  #tick() {
    if (this.#run !== null) this.#painter.touch();
  }

  #paint() {
    const state = this.#state;
    const turns = this.#turns;
    const last = turns.at(-1) ?? null;
    const nowMs = Date.now();
    const now = { stopping: this.#stopping, leftMs: this.#nextAttemptMs - nowMs };
    document.title = titleOf(turns);
    this.#view.show({
      state: state?.name ?? 'idle',
      status: this.#notice || statusWords(state, last, now),
      announcement: this.#notice || announcement(state, last?.message ?? null),
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
