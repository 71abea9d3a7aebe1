// @ts-check

/** @typedef {import('./conversation.js').Turn} Turn */

/**
 * What this browser keeps of a turn: by its stream, so that any tab finds it; `savedMs` says when it may go.
 * @typedef {Turn & {savedMs: number}} Kept
 */

const PREFIX = 'tailrace.turn.';
// As long as the server remembers that there was a stream: longer, and this copy would outlive even its tombstone.
const KEEP_MS = 24 * 3600 * 1000;
const MOST_TURNS = 500;

/** @returns {Storage | null} what all tabs of this browser share; null where the browser forbids it */
export function openStorage() {
  try {
    return window.localStorage;
  } catch {
    return null; // the page works without, a reload then shows the last turn only
  }
}

/**
 * Keep a turn; if there is no room, in place of the oldest.
 * @param {Storage | null} storage
 * @param {Turn} turn
 * @param {number} nowMs
 */
export function saveTurn(storage, turn, nowMs) {
  if (storage === null || turn.stream === '') return;
  const text = JSON.stringify({ ...turn, savedMs: nowMs });
  for (;;) {
    try {
      storage.setItem(PREFIX + turn.stream, text);
      return;
    } catch {
      const oldest = byAge(storage).find(({ stream }) => stream !== turn.stream);
      if (oldest === undefined) return; // larger than the whole storage
      storage.removeItem(PREFIX + oldest.stream);
    }
  }
}

/**
 * @param {Storage | null} storage
 * @param {string} stream
 * @returns {Turn | null}
 */
export function loadTurn(storage, stream) {
  try {
    const kept = JSON.parse(storage?.getItem(PREFIX + stream) ?? 'null');
    return isTurn(kept, stream) ? kept : null;
  } catch {
    return null; // blocked, or written by another version
  }
}

/**
 * A conversation up to a stream, as far back as it is kept. The first turn has a `before` if something is missing.
 * @param {Storage | null} storage
 * @param {string} stream  of its last turn
 * @returns {Turn[]} empty if this browser keeps nothing of it
 */
export function loadTurns(storage, stream) {
  /** @type {Turn[]} */
  const turns = [];
  const seen = new Set();
  for (let next = stream; next !== '' && !seen.has(next); ) {
    seen.add(next);
    const turn = loadTurn(storage, next);
    if (turn === null) break;
    turns.unshift(turn);
    next = turn.before;
  }
  return turns;
}

/**
 * The stream was deleted: the question and the copy of the answer go, too.
 * @param {Storage | null} storage
 * @param {string} stream
 */
export function forgetTurn(storage, stream) {
  storage?.removeItem(PREFIX + stream);
}

/**
 * Let go of what was kept long enough.
 * @param {Storage | null} storage
 * @param {number} nowMs
 */
export function pruneTurns(storage, nowMs) {
  if (storage === null) return;
  const kept = byAge(storage);
  const tooMany = kept.length - MOST_TURNS;
  kept.forEach(({ stream, savedMs }, at) => {
    if (at < tooMany || savedMs < nowMs - KEEP_MS) storage.removeItem(PREFIX + stream);
  });
}

/**
 * @param {Storage} storage
 * @returns {{stream: string, savedMs: number}[]} oldest first
 */
function byAge(storage) {
  const streams = Array.from({ length: storage.length }, (_, at) => storage.key(at) ?? '')
    .filter((key) => key.startsWith(PREFIX))
    .map((key) => key.slice(PREFIX.length));
  return streams
    .map((stream) => ({ stream, savedMs: /** @type {Kept | null} */ (loadTurn(storage, stream))?.savedMs ?? 0 }))
    .sort((one, other) => one.savedMs - other.savedMs);
}

/**
 * @param {any} kept
 * @param {string} stream
 * @returns {boolean} whether it is what this version writes
 */
function isTurn(kept, stream) {
  return kept?.stream === stream && typeof kept.prompt === 'string' && typeof kept.before === 'string' && Array.isArray(kept.message?.parts);
}
