import assert from 'node:assert/strict';
import { test } from 'node:test';

import { applyEvent, applyState, isOver, newMessage, textOf } from '../../../services/web/client/src/message.js';

/** @param {...object} events */
function after(...events) {
  return events.reduce(applyEvent, newMessage('smollm2'));
}

test('deltas of one kind grow one part, and a message never changes in place', () => {
  const one = after({ type: 'start', provider: 'local' }, { type: 'reasoning', delta: 'hm' }, { type: 'text', delta: 'He' });
  const two = applyEvent(one, { type: 'text', delta: 'llo' });
  assert.equal(textOf(one), 'He');
  assert.deepEqual(two.parts, [{ type: 'reasoning', text: 'hm' }, { type: 'text', text: 'Hello' }]);
  assert.equal(two.generation, one.generation);
});

test('a tool call is opened once and its arguments are put together, also when two are mixed', () => {
  const { parts } = after(
    { type: 'tool_call', index: 0, id: 'a', name: 'f', arguments_delta: '{' },
    { type: 'tool_call', index: 1, id: 'b', name: 'g', arguments_delta: '[' },
    { type: 'tool_call', index: 0, arguments_delta: '}' },
    { type: 'tool_call', index: 1, arguments_delta: ']' },
    { type: 'tool_call', index: 1, id: 'c', name: 'h', arguments_delta: '1' },
    { type: 'tool_call', index: 1, arguments_delta: '2' },
  );
  const calls = parts.map((part) => part.type === 'tool_call' && [part.id, part.name, part.arguments]);
  assert.deepEqual(calls, [['a', 'f', '{}'], ['b', 'g', '[]'], ['c', 'h', '12']]);
});

test('a reset throws away what is held and tells a view so', () => {
  const before = after({ type: 'text', delta: 'wrong' }, { type: 'usage', output_tokens: 3 });
  const reset = applyEvent(before, { type: 'reset', reason: 'restart', parts: [{ type: 'text', text: 'ri' }] });
  assert.equal(textOf(applyEvent(reset, { type: 'text', delta: 'ght' })), 'right');
  assert.notEqual(reset.generation, before.generation);
  assert.equal(reset.usage, null);
  assert.equal(reset.resets, 1);
});

test('a start after text begins again: the stream is told from its beginning', () => {
  assert.equal(textOf(after({ type: 'text', delta: 'old' }, { type: 'start' }, { type: 'text', delta: 'new' })), 'new');
});

test('a gap is seen, and does not end up in what is sent along', () => {
  const message = after({ type: 'text', delta: 'a' }, { type: 'gap', from: '1-1', to: '1-5', reason: 'trimmed' }, { type: 'text', delta: 'b' });
  assert.deepEqual(message.parts.map(({ type }) => type), ['text', 'gap', 'text']);
  assert.equal(textOf(message), 'ab');
});

test('each end is an end, and nothing else is', () => {
  assert.equal(isOver(after({ type: 'text', delta: 'a' })), false);
  assert.equal(after({ type: 'done', finish_reason: 'length' }).finishReason, 'length');
  assert.equal(isOver(after({ type: 'done', finish_reason: 'stop' })), true);
  assert.equal(isOver(after({ type: 'cancelled' })), true);
  const failed = after({ type: 'error', code: 'provider_stalled', message: 'The model provider went silent.', retryable: true });
  assert.deepEqual(failed.error, { code: 'provider_stalled', message: 'The model provider went silent.', retryable: true });
});

test('unknown events change nothing, whatever they are called', () => {
  const message = after({ type: 'text', delta: 'a' });
  for (const type of ['heartbeat', 'constructor', '__proto__', '']) assert.equal(applyEvent(message, { type }), message);
});

test('the state of a stream stands for its events', () => {
  const content = [{ type: 'text', text: 'whole' }];
  const message = applyState(newMessage(), { status: 'done', model: 'm', provider: 'p', content, usage: null, finish_reason: 'stop' });
  assert.equal(textOf(message), 'whole');
  assert.equal(isOver(message), true);
});

test('another worker that goes on, and one that starts over, are told apart', () => {
  const text = { type: 'text', delta: 'x' };
  const one = applyEvent(newMessage(), text, '1-1.00000000');
  const goneOn = applyEvent(applyEvent(one, text, '2-2.11111111'), text, '2-3.11111111');
  assert.deepEqual([goneOn.takeovers, goneOn.resets], [1, 0]);
  const reset = applyEvent(goneOn, { type: 'reset', reason: 'new_attempt', parts: [] });
  const startedOver = applyEvent(reset, text, '3-1.22222222');
  assert.deepEqual([startedOver.takeovers, startedOver.resets], [1, 1]);
  const late = applyEvent(newMessage(), text, '4-1.33333333');
  assert.equal(late.takeovers, 0, 'who comes late has seen no takeover');
});
