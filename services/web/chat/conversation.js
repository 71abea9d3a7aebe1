// @ts-check
import { newMessage, textOf } from '../client/src/message.js';

/** @typedef {import('../client/src/message.js').Message} Message */
/** @typedef {import('./api.js').ChatMessage} ChatMessage */

/** Milliseconds since 1970; 0 = not yet. @typedef {{created: number, first: number, finished: number}} Times */

/**
 * A question and its answer. `key` makes asking idempotent, `stream` is empty until the server named it, `before` is the
 * stream of the turn before it, `omitted` how many earlier turns the model was not sent.
 * @typedef {object} Turn
 * @property {string} key
 * @property {string} prompt
 * @property {string} stream
 * @property {string} before
 * @property {number} omitted
 * @property {Message} message
 * @property {Times} times
 */

// What a follow-up sends along: small models forget, and large bodies are refused.
const HISTORY_TURNS = 20;
const HISTORY_CHARS = 24_000;

/**
 * @param {string} prompt
 * @param {{model?: string, stream?: string, before?: string, createdMs?: number}} known
 * @returns {Turn}
 */
export function newTurn(prompt, { model = '', stream = '', before = '', createdMs = 0 } = {}) {
  const times = { created: createdMs, first: 0, finished: 0 };
  return { key: randomKey(), prompt, stream, before, omitted: 0, message: newMessage(model), times };
}

/**
 * What to send for the last turn: the earlier ones that have an answer, newest first to be kept, and its question.
 * @param {readonly Turn[]} turns
 * @returns {{messages: ChatMessage[], omitted: number}} `omitted`: earlier turns that are not sent
 */
export function messagesFor(turns) {
  const asked = turns.at(-1);
  if (asked === undefined) return { messages: [], omitted: 0 };
  const earlier = turns.slice(0, -1);
  /** @type {ChatMessage[]} */
  const messages = [{ role: 'user', content: asked.prompt }];
  let chars = asked.prompt.length;
  let sent = 0;
  for (const turn of earlier.slice(-HISTORY_TURNS).reverse()) {
    const answer = textOf(turn.message);
    chars += turn.prompt.length + answer.length;
    if (chars > HISTORY_CHARS) break;
    if (answer === '' || turn.prompt === '') continue;
    messages.unshift({ role: 'user', content: turn.prompt }, { role: 'assistant', content: answer });
    sent += 1;
  }
  return { messages, omitted: earlier.length - sent };
}

/** crypto.randomUUID is missing on plain http, where this page must work too. */
function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
