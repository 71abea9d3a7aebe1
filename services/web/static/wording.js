// @ts-check

/** @typedef {import('./client.js').FollowState} FollowState */
/** @typedef {import('./failure.js').Failure} Failure */
/** @typedef {import('./message.js').Message} Message */
/** @typedef {import('./conversation.js').Turn} Turn */

/**
 * The connection in plain words.
 * @param {FollowState | null} state  null: nothing was asked yet
 * @param {Turn | null} turn
 * @param {{stopping: boolean, leftMs: number}} now  `leftMs`: until the next attempt
 * @returns {string}
 */
export function statusWords(state, turn, { stopping, leftMs }) {
  if (state === null || turn === null) return 'Ready';
  const { message, stream } = turn;
  if (state.name === 'failed') return stream === '' ? 'Not sent' : 'The answer cannot be loaded';
  if (state.name === 'ended') return endWords(message);
  if (state.name === 'reconnecting') return reconnectWords(state.reason, leftMs);
  if (stopping) return 'Stopping…';
  if (state.name === 'connecting') return 'Connecting…';
  if (message.parts.length === 0) return 'Waiting for the model…';
  return message.parts.at(-1)?.type === 'reasoning' ? 'Thinking…' : 'Answering…';
}

/**
 * @param {string} reason
 * @param {number} leftMs
 * @returns {string}
 */
function reconnectWords(reason, leftMs) {
  const why = reason === 'moved' ? 'The server hands over.' : 'Connection lost.';
  return leftMs < 500 ? `${why} Reconnecting…` : `${why} Reconnecting in ${Math.ceil(leftMs / 1000)} s…`;
}

/**
 * @param {Message} message
 * @returns {string}
 */
function endWords(message) {
  if (message.status === 'cancelled') return 'Stopped';
  if (message.status === 'error') return 'The answer broke off';
  if (message.finishReason === 'length') return 'Done: the length limit was reached';
  if (message.finishReason === 'content_filter') return 'Done: cut by the provider’s content filter';
  return 'Done';
}

/**
 * What a screen reader is told; it changes a few times an answer, never with a token or a countdown.
 * @param {FollowState | null} state
 * @param {Message | null} message
 * @returns {string}
 */
export function announcement(state, message) {
  if (state === null || message === null) return '';
  if (state.name === 'reconnecting') return 'Connection lost. Reconnecting.';
  if (state.name === 'failed') return 'The answer cannot be loaded.';
  if (state.name === 'ended') return `${endWords(message)}.`;
  return message.parts.length === 0 ? 'Waiting for the answer.' : 'The answer is being written.';
}

/** @type {Record<string, string>} */
const BY_CODE = {
  unreachable: 'The server cannot be reached. Check the connection, then try again.',
  unknown_stream: 'This answer is not here. It may have been deleted, or the link is incomplete.',
  stream_expired: 'This answer was kept for a while and has expired.',
  stream_deleted: 'This answer was deleted.',
  memory_pressure: 'The server is full right now. Try again in a moment.',
};

/**
 * @param {Failure | import('./message.js').StreamError} failure
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
  if (message.resets > 0) facts.push(message.resets === 1 ? 'restarted once' : `restarted ${message.resets} times`);
  return facts.filter((fact) => fact !== '').join(' · ');
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
