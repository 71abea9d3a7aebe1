import assert from 'node:assert/strict';
import { test } from 'node:test';

import { newTurn } from '../../../services/web/chat/conversation.js';
import { isWorthRetrying } from '../../../services/web/client/src/failure.js';
import { directionOf } from '../../../services/web/chat/lines.js';
import { applyEvent } from '../../../services/web/client/src/message.js';
import { handoverWords, lackWords, statusWords } from '../../../services/web/chat/wording.js';

const NOW = { stopping: false, leftMs: 0, quietMs: 0, nobodyThere: false, handover: '' };
const asked = newTurn('Why?', { stream: 'a' });
const answering = { ...asked, message: applyEvent(asked.message, { type: 'text', delta: 'x' }, '1-1.00000000') };

test('the status tells what is known, and no more', () => {
  const live = { name: /** @type {const} */ ('live') };
  assert.equal(statusWords(live, asked, NOW), 'Waiting for the model…');
  assert.equal(statusWords(live, asked, { ...NOW, nobodyThere: true }), 'No worker is running. The answer begins when one does.');
  assert.equal(statusWords(live, answering, NOW), 'Answering…');
  assert.equal(statusWords(live, answering, { ...NOW, quietMs: 6_400 }), 'No news for 6 s. If the worker is gone, another takes over.');
  assert.equal(statusWords({ name: 'resting' }, answering, NOW), 'Paused while this tab is hidden');
  assert.equal(statusWords({ name: 'reconnecting', attempt: 1, in_ms: 9, reason: 'moved' }, answering, NOW), 'Switching servers…');
});

test('a takeover is told as what it was', () => {
  const reset = { type: 'reset', reason: 'new_attempt', parts: [] };
  const words = (/** @type {any} */ event, /** @type {string} */ id) =>
    handoverWords(answering.message, applyEvent(answering.message, event, id), event);
  assert.equal(words(reset, ''), 'Another worker took over and started over.');
  assert.equal(words({ ...reset, reason: 'log_lost' }, ''), 'The server lost some of the text. This is what it has.');
  assert.equal(words({ type: 'text', delta: 'y' }, '2-2.11111111'), 'Another worker took over and continues.');
  assert.equal(words({ type: 'text', delta: 'y' }, '1-2.00000000'), '');
});

test('a conversation says what it lacks', () => {
  const here = { isFirst: true, isThere: true };
  assert.equal(lackWords(asked, here), '');
  assert.match(lackWords({ ...asked, before: 'z' }, here), /earlier conversation is no longer kept/);
  assert.equal(lackWords({ ...asked, before: 'z' }, { ...here, isFirst: false }), '');
  assert.match(lackWords({ ...asked, prompt: '' }, here), /The server does not keep questions/);
  assert.equal(lackWords({ ...asked, prompt: '' }, { ...here, isThere: false }), '');
  assert.match(lackWords({ ...asked, omitted: 3 }, here), /3 earlier questions were not included/);
});

test('asking again is offered only where it can help', () => {
  const failure = (/** @type {string} */ code, /** @type {boolean} */ retryable) => ({ code, message: '', retryable });
  assert.equal(isWorthRetrying(failure('provider_failed', true)), true);
  assert.equal(isWorthRetrying(failure('provider_auth', false)), false);
  assert.equal(isWorthRetrying(failure('invalid_body', false)), false);
  assert.equal(isWorthRetrying(failure('stream_expired', false)), true);
});

test('a paragraph runs in the direction of its first letter', () => {
  assert.equal(directionOf('12 - שלום world'), 'rtl');
  assert.equal(directionOf('"hello" שלום'), 'ltr');
  assert.equal(directionOf('مرحبا'), 'rtl');
  assert.equal(directionOf('123 🌊'), 'ltr');
});
