import assert from 'node:assert/strict';
import { test } from 'node:test';

import { forgetTurn, loadTurns, pruneTurns, saveTurn } from '../../../services/web/chat/archive.js';
import { newTurn } from '../../../services/web/chat/conversation.js';
import { applyEvent } from '../../../services/web/client/src/message.js';

const HOUR_MS = 3_600_000;

/**
 * @param {string} stream
 * @param {string} before
 * @param {string} answer
 */
function turn(stream, before = '', answer = 'yes') {
  const asked = newTurn(`question ${stream}`, { stream, before });
  return { ...asked, message: applyEvent(asked.message, { type: 'text', delta: answer }) };
}

/** A storage with room for so many characters. @param {number} room */
function storageOf(room = 1_000_000) {
  const kept = new Map();
  const used = () => [...kept.values()].reduce((sum, value) => sum + value.length, 0);
  return {
    get length() {
      return kept.size;
    },
    key: (/** @type {number} */ at) => [...kept.keys()][at] ?? null,
    getItem: (/** @type {string} */ key) => kept.get(key) ?? null,
    removeItem: (/** @type {string} */ key) => kept.delete(key),
    setItem(/** @type {string} */ key, /** @type {string} */ value) {
      if (used() - (kept.get(key)?.length ?? 0) + value.length > room) throw new DOMException('full', 'QuotaExceededError');
      kept.set(key, value);
    },
  };
}

const streams = (/** @type {any[]} */ turns) => turns.map(({ stream }) => stream);

test('any tab finds the whole conversation by any of its streams', () => {
  const storage = storageOf();
  for (const each of [turn('a'), turn('b', 'a'), turn('c', 'b')]) saveTurn(storage, each, 1);
  assert.deepEqual(streams(loadTurns(storage, 'c')), ['a', 'b', 'c']);
  assert.deepEqual(streams(loadTurns(storage, 'b')), ['a', 'b']);
  assert.deepEqual(loadTurns(storage, 'elsewhere'), []);
  assert.deepEqual(loadTurns(null, 'c'), []);
});

test('two tabs that go on from one answer do not disturb each other', () => {
  const storage = storageOf();
  for (const each of [turn('a'), turn('left', 'a'), turn('right', 'a')]) saveTurn(storage, each, 1);
  assert.deepEqual(streams(loadTurns(storage, 'left')), ['a', 'left']);
  assert.deepEqual(streams(loadTurns(storage, 'right')), ['a', 'right']);
});

test('what is missing shows in the first turn that is there', () => {
  const storage = storageOf();
  for (const each of [turn('a'), turn('b', 'a'), turn('c', 'b')]) saveTurn(storage, each, 1);
  forgetTurn(storage, 'a');
  assert.equal(loadTurns(storage, 'c')[0].before, 'a');
});

test('a full storage lets go of the oldest', () => {
  const storage = storageOf(3_000);
  saveTurn(storage, turn('old', '', 'x'.repeat(2_000)), 1);
  saveTurn(storage, turn('new', 'old', 'y'.repeat(2_000)), 2);
  assert.deepEqual(streams(loadTurns(storage, 'new')), ['new']);
  saveTurn(storage, turn('huge', 'new', 'z'.repeat(5_000)), 3); // no room at all, and no error
  assert.deepEqual(loadTurns(storage, 'huge'), []);
});

test('nothing is kept for longer than a day', () => {
  const storage = storageOf();
  saveTurn(storage, turn('old'), HOUR_MS);
  saveTurn(storage, turn('young'), 3 * HOUR_MS);
  storage.setItem('somebody.else', 'x');
  pruneTurns(storage, 26 * HOUR_MS);
  assert.deepEqual(loadTurns(storage, 'old'), []);
  assert.equal(loadTurns(storage, 'young').length, 1);
  assert.equal(storage.getItem('somebody.else'), 'x');
});

test('what another version wrote is as good as nothing', () => {
  const storage = storageOf();
  storage.setItem('tailrace.turn.a', '{"stream":"a"}');
  storage.setItem('tailrace.turn.b', '[');
  assert.deepEqual(loadTurns(storage, 'a'), []);
  assert.deepEqual(loadTurns(storage, 'b'), []);
});
