import assert from 'node:assert/strict';
import { test } from 'node:test';

import { loadTurns, messagesFor, newTurn, saveTurns } from '../../../services/web/static/conversation.js';
import { applyEvent } from '../../../services/web/static/message.js';

/**
 * @param {string} prompt
 * @param {string} answer
 */
function answered(prompt, answer) {
  const turn = newTurn(prompt, { stream: prompt });
  return { ...turn, message: applyEvent(turn.message, { type: 'text', delta: answer }) };
}

/** A storage with room for so many characters. @param {number} room */
function storageOf(room) {
  const kept = new Map();
  return {
    getItem: (/** @type {string} */ key) => kept.get(key) ?? null,
    removeItem: (/** @type {string} */ key) => kept.delete(key),
    setItem(/** @type {string} */ key, /** @type {string} */ value) {
      if (value.length > room) throw new DOMException('full', 'QuotaExceededError');
      kept.set(key, value);
    },
  };
}

test('a follow-up sends the turns that have an answer, in order, and its question last', () => {
  const turns = [answered('one', '1'), newTurn('unanswered'), answered('two', '2'), newTurn('three')];
  assert.deepEqual(messagesFor(turns), [
    { role: 'user', content: 'one' },
    { role: 'assistant', content: '1' },
    { role: 'user', content: 'two' },
    { role: 'assistant', content: '2' },
    { role: 'user', content: 'three' },
  ]);
});

test('a long conversation sends its newest part', () => {
  const turns = [answered('old', 'x'.repeat(20_000)), answered('new', 'y'.repeat(20_000)), newTurn('now')];
  assert.deepEqual(messagesFor(turns).map(({ content }) => content.slice(0, 3)), ['new', 'yyy', 'now']);
});

test('a tab finds its conversation again by the last stream only', () => {
  const storage = storageOf(1_000_000);
  const turns = [answered('one', '1'), answered('two', '2')];
  saveTurns(turns, storage);
  assert.deepEqual(loadTurns(storage, 'two'), turns);
  assert.deepEqual(loadTurns(storage, 'one'), []);
  assert.deepEqual(loadTurns(null, 'two'), []);
});

test('a full storage keeps the newest turns', () => {
  const storage = storageOf(2_000);
  saveTurns([answered('one', 'x'.repeat(3_000)), answered('two', '2')], storage);
  assert.deepEqual(loadTurns(storage, 'two').map(({ prompt }) => prompt), ['two']);
});
