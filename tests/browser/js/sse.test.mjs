import assert from 'node:assert/strict';
import { test } from 'node:test';

import { SseParser } from '../../../services/web/client/src/sse.js';

const STREAM = '\uFEFFretry: 1200\r\n\r\n: hb\n\nid: 1-4.00000000\rdata: {"delta":"für 🌊"}\r\rdata: a\r\ndata:b\n\nid\ndata\n\n'
  + 'id: 1-9.00000000\n\nid: no\0good\ndata: c\n\nretry: 1e3\nevent: x\nnothing\ndata:  two spaces\n\nid: 1-10.0\ndata: cut';
const FRAMES = [
  { id: undefined, data: undefined, retryMs: 1200 },
  { id: undefined, data: undefined, retryMs: undefined },
  { id: '1-4.00000000', data: '{"delta":"für 🌊"}', retryMs: undefined },
  { id: '1-4.00000000', data: 'a\nb', retryMs: undefined },
  { id: '', data: '', retryMs: undefined },
  { id: '1-9.00000000', data: undefined, retryMs: undefined },
  { id: '1-9.00000000', data: 'c', retryMs: undefined },
  { id: '1-9.00000000', data: ' two spaces', retryMs: undefined },
];

/**
 * @param {Uint8Array} bytes
 * @param {number[]} cuts
 */
function parse(bytes, cuts) {
  const parser = new SseParser();
  return [0, ...cuts].flatMap((from, at) => parser.feed(bytes.subarray(from, cuts[at] ?? bytes.length)));
}

test('a stream parses the same wherever it is cut in two', () => {
  const bytes = new TextEncoder().encode(STREAM);
  for (let cut = 0; cut <= bytes.length; cut += 1) assert.deepEqual(parse(bytes, [cut]), FRAMES, `cut at ${cut}`);
});

test('a stream parses the same byte by byte', () => {
  const bytes = new TextEncoder().encode(STREAM);
  assert.deepEqual(parse(bytes, Array.from(bytes.keys()).slice(1)), FRAMES);
});

test('a frame ended by CR is not held back for a LF that may never come', () => {
  const parser = new SseParser();
  assert.equal(parser.feed(new TextEncoder().encode('data: now\r\r')).length, 1);
  assert.deepEqual(parser.feed(new TextEncoder().encode('\ndata: next\r\n\r')).map(({ data }) => data), ['next']);
  assert.deepEqual(parser.feed(new TextEncoder().encode('\n')), []);
});
