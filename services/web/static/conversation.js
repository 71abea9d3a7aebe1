// @ts-check
import { newMessage, textOf } from './message.js';

/** @typedef {import('./message.js').Message} Message */
/** @typedef {import('./api.js').ChatMessage} ChatMessage */

/** Milliseconds since 1970; 0 = not yet. @typedef {{created: number, first: number, finished: number}} Times */

/**
 * A question and its answer. `key` makes asking idempotent, `stream` is empty until the server named it.
 * @typedef {object} Turn
 * @property {string} key
 * @property {string} prompt
 * @property {string} stream
 * @property {Message} message
 * @property {Times} times
 */

// What a follow-up sends along: small models forget, and large bodies are refused.
const HISTORY_TURNS = 20;
const HISTORY_CHARS = 24_000;
const STORAGE_KEY = 'tailrace.conversation';

/**
 * @param {string} prompt
 * @param {{model?: string, stream?: string, createdMs?: number}} known
 * @returns {Turn}
 */
export function newTurn(prompt, { model = '', stream = '', createdMs = 0 } = {}) {
  const times = { created: createdMs, first: 0, finished: 0 };
  return { key: randomKey(), prompt, stream, message: newMessage(model), times };
}

/**
 * What to send for the last turn: the earlier ones that have an answer, newest first to be kept, and its question.
 * @param {readonly Turn[]} turns
 * @returns {ChatMessage[]}
 */
export function messagesFor(turns) {
  const asked = turns.at(-1);
  if (asked === undefined) return [];
  /** @type {ChatMessage[]} */
  const messages = [{ role: 'user', content: asked.prompt }];
  let chars = asked.prompt.length;
  for (const turn of turns.slice(0, -1).reverse().slice(0, HISTORY_TURNS)) {
    const answer = textOf(turn.message);
    chars += turn.prompt.length + answer.length;
    if (chars > HISTORY_CHARS) break;
    if (answer === '' || turn.prompt === '') continue;
    messages.unshift({ role: 'user', content: turn.prompt }, { role: 'assistant', content: answer });
  }
  return messages;
}

/**
 * @returns {Storage | null} what this tab keeps over a reload; null where the browser forbids it
 */
export function openStorage() {
  try {
    return window.sessionStorage;
  } catch {
    return null; // the page works without, a reload then shows the last turn only
  }
}

/**
 * Keep a conversation for this tab; if there is no room, its newest turns.
 * @param {readonly Turn[]} turns
 * @param {Storage | null} storage
 */
export function saveTurns(turns, storage) {
  if (storage === null) return;
  for (let from = 0; from < turns.length; from += 1) {
    try {
      storage.setItem(STORAGE_KEY, JSON.stringify(turns.slice(from)));
      return;
    } catch {
      storage.removeItem(STORAGE_KEY); // full: try with one turn less
    }
  }
}

/**
 * @param {Storage | null} storage
 * @param {string} stream  of the last turn
 * @returns {Turn[]} empty if this tab keeps another conversation, or none
 */
export function loadTurns(storage, stream) {
  try {
    const turns = JSON.parse(storage?.getItem(STORAGE_KEY) ?? '[]');
    return turns.at(-1)?.stream === stream ? turns : [];
  } catch {
    return []; // blocked, or written by another version: the server still has the stream
  }
}

/** crypto.randomUUID is missing on plain http, where this page must work too. */
function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
