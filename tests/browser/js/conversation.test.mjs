import assert from 'node:assert/strict';
import { test } from 'node:test';

import { messagesFor, newTurn } from '../../../services/web/chat/conversation.js';
import { applyEvent } from '../../../services/web/client/src/message.js';

/**
 * @param {string} prompt
 * @param {string} answer
 */
function answered(prompt, answer) {
  const turn = newTurn(prompt, { stream: prompt });
  return { ...turn, message: applyEvent(turn.message, { type: 'text', delta: answer }) };
}

test('a follow-up sends the turns that have an answer, in order, and its question last', () => {
  const turns = [answered('one', '1'), newTurn('unanswered'), answered('two', '2'), newTurn('three')];
  const { messages, omitted } = messagesFor(turns);
  assert.equal(omitted, 1);
  assert.deepEqual(messages, [
    { role: 'user', content: 'one' },
    { role: 'assistant', content: '1' },
    { role: 'user', content: 'two' },
    { role: 'assistant', content: '2' },
    { role: 'user', content: 'three' },
  ]);
});

test('a long conversation sends its newest part', () => {
  const turns = [answered('old', 'x'.repeat(20_000)), answered('new', 'y'.repeat(20_000)), newTurn('now')];
  const { messages, omitted } = messagesFor(turns);
  assert.deepEqual(messages.map(({ content }) => content.slice(0, 3)), ['new', 'yyy', 'now']);
  assert.equal(omitted, 1);
});
