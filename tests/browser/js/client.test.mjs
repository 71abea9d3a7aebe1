import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { test } from 'node:test';

import { LIMITS, backoffMs, followStream } from '../../../services/web/client/src/client.js';

const FAST = { baseMs: 1, capMs: 4, stallMs: 5_000 };
const SSE = { 'Content-Type': 'text/event-stream; charset=utf-8' };
const ID = (/** @type {number} */ offset) => `1-${offset}.00000000`;

/** @param {number} offset @param {object} event */
function frame(offset, event) {
  return `id: ${ID(offset)}\ndata: ${JSON.stringify(event)}\n\n`;
}

/**
 * Follow a real server whose n-th connection is answered by the n-th script, the last one for all further ones.
 * @param {((response: import('node:http').ServerResponse, request: import('node:http').IncomingMessage) => void)[]} scripts
 * @param {Partial<import('../../../services/web/client/src/client.js').FollowOptions>} options
 */
async function follow(scripts, options = {}) {
  /** @type {(string | undefined)[]} */
  const cursors = [];
  const server = createServer((request, response) => {
    cursors.push(/** @type {string | undefined} */ (request.headers['last-event-id']));
    (scripts[cursors.length - 1] ?? scripts.at(-1))?.(response, request);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  /** @type {any[]} */
  const events = [];
  /** @type {any[]} */
  const states = [];
  try {
    const end = await followStream(`http://127.0.0.1:${server.address().port}/`, {
      onEvent: (event) => events.push(event),
      onState: (state) => states.push(state),
      limits: FAST,
      ...options,
    });
    return { end, events, states, cursors, text: events.map(({ delta = '' }) => delta).join('') };
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

const whole = frame(1, { type: 'text', delta: 'a' }) + frame(2, { type: 'text', delta: 'b' }) + frame(3, { type: 'done' });

test('a stream is followed to its end, without asking again', async () => {
  const { end, text, states, cursors } = await follow([(response) => response.writeHead(200, SSE).end(whole)]);
  assert.equal(end.name, 'ended');
  assert.equal(text, 'ab');
  assert.deepEqual(states.map(({ name }) => name), ['connecting', 'live', 'ended']);
  assert.deepEqual(cursors, [undefined]);
});

test('the end of the stream ends following, even if the server keeps the connection', async () => {
  const { end } = await follow([(response) => response.writeHead(200, SSE).write(whole)]);
  assert.equal(end.name, 'ended');
});

test('cut anywhere, even inside a frame, no event is lost and none comes twice', async () => {
  const bytes = Buffer.from(frame(5, { type: 'text', delta: 'für ' }) + frame(9, { type: 'text', delta: '🌊' }) + frame(10, { type: 'done' }));
  for (let cut = 0; cut < bytes.length; cut += 7) {
    const rest = (/** @type {string | undefined} */ cursor) => (cursor === undefined ? 0 : bytes.indexOf(cursor) + cursor.length);
    const { text, cursors } = await follow([
      (response) => response.writeHead(200, SSE).write(bytes.subarray(0, cut), () => response.destroy()),
      (response, { headers }) => {
        const from = bytes.indexOf('\n\n', rest(headers['last-event-id']));
        response.writeHead(200, SSE).end(bytes.subarray(headers['last-event-id'] === undefined ? 0 : from + 2));
      },
    ]);
    assert.equal(text, 'für 🌊', `cut at ${cut}`);
    assert.equal(cursors.length, 2);
  }
});

test('a clean end without a terminal event is no end', async () => {
  const { end, text, cursors } = await follow([
    (response) => response.writeHead(200, SSE).end(frame(1, { type: 'text', delta: 'a' })),
    (response) => response.writeHead(200, SSE).end(frame(2, { type: 'done' })),
  ]);
  assert.deepEqual([end.name, text, cursors], ['ended', 'a', [undefined, ID(1)]]);
});

test('a given cursor is where it begins, and 204 is the end', async () => {
  const { end, events, cursors } = await follow([(response) => response.writeHead(204).end()], { lastEventId: ID(7) });
  assert.deepEqual([end.name, events, cursors], ['ended', [], [ID(7)]]);
});

for (const status of [400, 404, 410]) {
  test(`${status} is final, and says what the server said`, async () => {
    const error = { code: 'stream_expired', message: 'The stream has expired.', retryable: false, gone_ms: 5 };
    const { end, cursors } = await follow([(response) => response.writeHead(status).end(JSON.stringify({ error }))]);
    assert.deepEqual(end, { name: 'failed', error: { ...error, status } });
    assert.equal(cursors.length, 1);
  });
}

test('an answer that is no event stream is final', async () => {
  const { end } = await follow([(response) => response.writeHead(200, { 'Content-Type': 'text/html' }).end('<p>')]);
  assert.equal(end.name, 'failed');
});

for (const status of [429, 502, 503]) {
  test(`${status} passes, also when a proxy says it in HTML`, async () => {
    const { end, states } = await follow([
      (response) => response.writeHead(status).end('<p>later'),
      (response) => response.writeHead(200, SSE).end(whole),
    ]);
    assert.equal(end.name, 'ended');
    assert.equal(states.find(({ name }) => name === 'reconnecting').reason, `http_${status}`);
  });
}

test('a 500 that calls itself final is believed', async () => {
  const error = { code: 'store_misused', message: 'See the log.', retryable: false };
  const { end } = await follow([(response) => response.writeHead(500).end(JSON.stringify({ error }))]);
  assert.equal(end.name, 'failed');
});

test('reconnect, retry and Retry-After are waited for', async () => {
  const moved = 'data: {"type":"reconnect","retry_ms":31}\n\n';
  const { states, events } = await follow([
    (response) => response.writeHead(200, SSE).end(moved),
    (response) => response.writeHead(200, SSE).end('retry: 4\n\n'),
    (response) => response.writeHead(503, { 'Retry-After': '1' }).end(),
    (response) => response.writeHead(200, SSE).end(whole),
  ]);
  const waits = states.filter(({ name, in_ms }) => name === 'reconnecting' && in_ms > 0).map(({ in_ms }) => in_ms);
  assert.deepEqual(waits, [31, 4, 1000]);
  assert.deepEqual(events.map(({ type }) => type), ['text', 'text', 'done']);
});

test('attempts count up until an event with an id arrives; a start is not enough', async () => {
  const { states } = await follow([
    (response) => response.writeHead(200, SSE).end('data: {"type":"start"}\n\n'),
    (response) => response.destroy(),
    (response) => response.writeHead(200, SSE).end(frame(1, { type: 'text', delta: 'a' })),
    (response) => response.writeHead(200, SSE).end(whole),
  ]);
  const attempts = states.filter(({ name }) => name === 'reconnecting').map(({ attempt }) => attempt);
  assert.deepEqual([...new Set(attempts)], [1, 2]);
  assert.equal(attempts.at(-1), 1);
});

test('it gives up when told to', async () => {
  const { end, cursors } = await follow([(response) => response.destroy()], { limits: { ...FAST, maxAttempts: 3 } });
  assert.equal(end.name, 'failed');
  assert.equal(end.name === 'failed' && end.error.code, 'gave_up');
  assert.equal(cursors.length, 4);
});

test('a silent connection is cut, one that beats is not', async () => {
  const { end, states } = await follow(
    [
      (response) => response.writeHead(200, SSE).flushHeaders(),
      (response) => {
        response.writeHead(200, SSE);
        let beats = 0;
        const timer = setInterval(() => {
          beats += 1;
          response.write(beats < 6 ? ': hb\n\n' : whole);
          if (beats === 6) clearInterval(timer);
        }, 40);
      },
    ],
    { limits: { ...FAST, stallMs: 120 } },
  );
  assert.equal(end.name, 'ended');
  assert.deepEqual(states.filter(({ name }) => name === 'reconnecting').map(({ reason }) => reason), ['stalled', 'stalled']);
});

test('a garbled event does not move the cursor', async () => {
  const { text, cursors } = await follow([
    (response) => response.writeHead(200, SSE).end(`${frame(1, { type: 'text', delta: 'a' })}id: ${ID(2)}\ndata: {"type":\n\n`),
    (response) => response.writeHead(200, SSE).end(frame(2, { type: 'text', delta: 'b' }) + frame(3, { type: 'done' })),
  ]);
  assert.deepEqual([text, cursors[1]], ['ab', ID(1)]);
});

test('an abort stops following, in a pause and in a connection, and says nothing more', { timeout: 5_000 }, async () => {
  for (const script of [
    (/** @type {any} */ response) => response.writeHead(200, SSE).write(frame(1, { type: 'text', delta: 'a' })),
    (/** @type {any} */ response) => response.writeHead(503, { 'Retry-After': '30' }).end(),
  ]) {
    const run = new AbortController();
    /** @type {string[]} */
    const names = [];
    const { end } = await follow([script], {
      signal: run.signal,
      onEvent: () => run.abort(),
      onState: ({ name }) => {
        names.push(name);
        if (name === 'reconnecting') run.abort();
      },
    });
    assert.equal(end.name, names.at(-1));
    assert.ok(!names.includes('ended') && !names.includes('failed'));
  }
});

test('what a handler throws comes out, it does not look like a lost connection', async () => {
  const onEvent = () => {
    throw new RangeError('mine');
  };
  await assert.rejects(follow([(response) => response.writeHead(200, SSE).end(whole)], { onEvent }), /mine/);
});

test('backoff is exponential with full jitter, a cap and a floor', () => {
  const most = [1, 2, 3, 4, 5, 6, 7, 50, 2_000].map((attempt) => backoffMs(attempt, 0, LIMITS, () => 1));
  assert.deepEqual(most, [250, 500, 1_000, 2_000, 4_000, 8_000, 8_000, 8_000, 8_000]);
  assert.equal(backoffMs(9, 0, LIMITS, () => 0), 0);
  assert.equal(backoffMs(1, 1_500, LIMITS, () => 1), 1_500);
  assert.equal(backoffMs(1, 1e9, LIMITS, () => 0), LIMITS.serverCapMs);
});

/** A document whose tab can be hidden. */
class Tab extends EventTarget {
  visibilityState = 'visible';

  /** @param {'visible' | 'hidden'} state */
  become(state) {
    this.visibilityState = state;
    this.dispatchEvent(new Event('visibilitychange'));
  }
}

test('a hidden tab lets go of its connection after a while, and goes on where it was', async () => {
  const tab = new Tab();
  globalThis.document = /** @type {any} */ (tab);
  let isClosed = false;
  try {
    const { end, text, states, cursors } = await follow(
      [
        (response) => {
          response.on('close', () => (isClosed = true));
          response.writeHead(200, SSE).write(frame(1, { type: 'text', delta: 'a' }));
          setTimeout(() => tab.become('hidden'), 20);
        },
        (response) => response.writeHead(200, SSE).end(frame(2, { type: 'text', delta: 'b' }) + frame(3, { type: 'done' })),
      ],
      {
        limits: { ...FAST, restMs: 30 },
        onState: (state) => {
          if (state.name === 'resting') setTimeout(() => tab.become('visible'), 100);
        },
      },
    );
    assert.equal(end.name, 'ended');
    assert.equal(text, 'ab');
    assert.ok(isClosed);
    assert.deepEqual(cursors, [undefined, ID(1)]);
    assert.equal(states.length, 0);
  } finally {
    delete (/** @type {any} */ (globalThis).document);
  }
});

test('a tab that is hidden for a moment keeps its connection', async () => {
  const tab = new Tab();
  globalThis.document = /** @type {any} */ (tab);
  try {
    const { cursors } = await follow(
      [
        (response) => {
          response.writeHead(200, SSE).write(frame(1, { type: 'text', delta: 'a' }));
          tab.become('hidden');
          setTimeout(() => tab.become('visible'), 10);
          setTimeout(() => response.end(frame(2, { type: 'done' })), 80);
        },
      ],
      { limits: { ...FAST, restMs: 50 } },
    );
    assert.deepEqual(cursors, [undefined]);
  } finally {
    delete (/** @type {any} */ (globalThis).document);
  }
});
