// @ts-check

/** @typedef {import('../client/src/client.js').FollowState} FollowState */
/** @typedef {import('../client/src/failure.js').Failure} Failure */
/** @typedef {import('../client/src/message.js').Message} Message */
/** @typedef {import('./conversation.js').Turn} Turn */

/**
 * What matters at this moment beside the state of the connection.
 * @typedef {object} Now
 * @property {boolean} stopping
 * @property {number} leftMs  until the next attempt
 * @property {number} quietMs  since the last event
 * @property {boolean} nobodyThere  no worker is running
 * @property {string} handover  what to tell of another worker that took over
 */

// A worker that died is replaced after some ten seconds; before that a model may just think.
const QUIET_MS = 6_000;
const NOBODY = 'No worker is running. The answer begins when one does.';

/**
 * The connection in plain words.
 * @param {FollowState | null} state  null: nothing was asked yet
 * @param {Turn | null} turn
 * @param {Now} now
 * @returns {string}
 */
export function statusWords(state, turn, { stopping, leftMs, quietMs, nobodyThere, handover }) {
  if (state === null || turn === null) return 'Ready';
  const { message, stream } = turn;
  if (state.name === 'failed') return stream === '' ? 'Not sent' : 'The answer cannot be loaded';
  if (state.name === 'ended') return endWords(message);
  if (state.name === 'reconnecting') return reconnectWords(state.reason, leftMs);
  if (state.name === 'resting') return 'Paused while this tab is hidden';
  if (stopping) return 'Stopping…';
  if (state.name === 'connecting') return 'Connecting…';
  if (nobodyThere) return NOBODY;
  if (message.parts.length === 0) return 'Waiting for the model…';
  if (quietMs >= QUIET_MS) return `No news for ${Math.floor(quietMs / 1000)} s. If the worker is gone, another takes over.`;
  if (handover !== '') return handover;
  return message.parts.at(-1)?.type === 'reasoning' ? 'Thinking…' : 'Answering…';
}

/**
 * @param {string} reason
 * @param {number} leftMs
 * @returns {string}
 */
function reconnectWords(reason, leftMs) {
  if (reason === 'moved') return 'Switching servers…';
  const why = 'Connection lost.';
  return leftMs < 500 ? `${why} Reconnecting…` : `${why} Reconnecting in ${Math.ceil(leftMs / 1000)} s…`;
}

/**
 * @param {Message} message
 * @returns {string}
 */
function endWords(message) {
  if (message.status === 'cancelled') return 'Stopped';
  if (message.status === 'error') return 'Failed';
  if (message.finishReason === 'length') return 'Done: the length limit was reached';
  if (message.finishReason === 'content_filter') return 'Done: cut by the provider’s content filter';
  return 'Done';
}

/**
 * What a screen reader is told; it changes a few times an answer, never with a token or a countdown.
 * @param {FollowState | null} state
 * @param {Message | null} message
 * @param {Now} now
 * @returns {string}
 */
export function announcement(state, message, { nobodyThere, handover }) {
  if (state === null || message === null) return '';
  if (state.name === 'reconnecting') return state.reason === 'moved' ? 'Switching servers.' : 'Connection lost. Reconnecting.';
  if (state.name === 'failed') return 'The answer cannot be loaded.';
  if (state.name === 'ended') return `${endWords(message)}.`;
  if (nobodyThere) return NOBODY;
  if (handover !== '') return handover;
  return message.parts.length === 0 ? 'Waiting for the answer.' : 'The answer is being written.';
}

/**
 * What an event tells of another worker that took over.
 * @param {Message} before
 * @param {Message} after
 * @param {import('../client/src/client.js').StreamEvent} event
 * @returns {string} empty: nothing
 */
export function handoverWords(before, after, event) {
  if (event.type === 'reset' && event.reason === 'log_lost') return 'The server lost some of the text. This is what it has.';
  if (event.type === 'reset') return 'Another worker took over and started over.';
  return after.takeovers > before.takeovers ? 'Another worker took over and continues.' : '';
}

/**
 * What of a conversation is not here, or was not sent.
 * @param {Turn} turn
 * @param {{isFirst: boolean, isThere: boolean}} place  `isThere`: its answer was found
 * @returns {string} empty: it is whole
 */
export function lackWords({ prompt, stream, before, omitted }, { isFirst, isThere }) {
  const words = [];
  if (isFirst && before !== '') words.push('The earlier conversation is no longer kept in this browser.');
  if (prompt === '' && stream !== '' && isThere) {
    words.push('Asked in another browser, or at another address. The server does not keep questions.');
  }
  if (omitted === 1) words.push('One earlier question was not included: the model does not know it.');
  if (omitted > 1) words.push(`${omitted} earlier questions were not included: the model does not know them.`);
  return words.join(' ');
}

/**
 * @param {import('./api.js').RunningStream} stream
 * @param {number} nowMs
 * @returns {string}
 */
export function runningWords({ model, status, created_ms }, nowMs) {
  const since = seconds(Math.max(0, nowMs - created_ms));
  return status === 'queued' ? `${model} · waiting for ${since}` : `${model} · for ${since}`;
}

/** @type {Record<string, string>} */
const BY_CODE = {
  unreachable: 'The server cannot be reached. Check the connection, then try again.',
  unknown_stream: 'Answer not found. It may have been deleted long ago, or the link is incomplete.',
  stream_expired: 'This answer was kept for a while and has expired.',
  stream_deleted: 'This answer was deleted.',
  memory_pressure: 'The server is full right now. Try again in a moment.',
};

/**
 * @param {Failure | import('../client/src/message.js').StreamError} failure
 * @returns {string} a sentence for the reader
 */
export function failureWords(failure) {
  const words = (BY_CODE[failure.code] ?? failure.message) || 'Something went wrong.';
  if (!('gone_ms' in failure)) return words;
  return `${words} (${new Date(Number(failure.gone_ms)).toLocaleString()})`;
}

/**
 * The small print under an answer: who wrote it, how long it took, how much it is.
 * @param {Turn} turn
 * @param {number} nowMs
 * @returns {string}
 */
export function factsOf({ message, times }, nowMs) {
  const facts = [message.model, ...timeFacts(times, nowMs), ...sizeFacts(message, times)];
  facts.push(countWords('taken over', message.takeovers), countWords('started over', message.resets));
  return facts.filter((fact) => fact !== '').join(' · ');
}

/**
 * @param {string} what
 * @param {number} count
 * @returns {string} empty: never
 */
function countWords(what, count) {
  if (count === 0) return '';
  return count === 1 ? `${what} once` : `${what} ${count} times`;
}

/**
 * @param {import('./conversation.js').Times} times
 * @param {number} nowMs
 * @returns {string[]}
 */
function timeFacts({ created, first, finished }, nowMs) {
  if (created === 0) return [];
  const elapsed = seconds((finished || nowMs) - created);
  return first === 0 ? [elapsed] : [elapsed, `first text after ${seconds(first - created)}`];
}

/**
 * @param {Message} message
 * @param {import('./conversation.js').Times} times
 * @returns {string[]}
 */
function sizeFacts({ parts, usage }, { first, finished }) {
  const tokens = usage?.output_tokens ?? 0;
  // A delta is not a token, so until the provider has counted there are only characters.
  if (tokens === 0) {
    const chars = parts.reduce((sum, part) => sum + ('text' in part ? part.text.length : 0), 0);
    return chars === 0 ? [] : [`${chars.toLocaleString('en')} characters`];
  }
  const counted = `${tokens.toLocaleString('en')} tokens`;
  const writingMs = finished - first;
  if (first === 0 || writingMs < 100) return [counted];
  return [counted, `${((tokens * 1000) / writingMs).toFixed(0)} tokens/s`];
}

/**
 * @param {number} ms
 * @returns {string}
 */
function seconds(ms) {
  const s = Math.max(0, ms) / 1000;
  if (s < 10) return `${s.toFixed(s < 1 ? 2 : 1)} s`;
  return s < 90 ? `${s.toFixed(0)} s` : `${Math.floor(s / 60)} min ${Math.floor(s % 60)} s`;
}
