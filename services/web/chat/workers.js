// @ts-check
import { countWorkers } from './api.js';

// A worker that is there takes a question within milliseconds.
const PATIENCE_MS = 2_000;

/** Finds out whether anybody is there to answer, while a question waits for its first word. */
export class WorkerWatch {
  #waitingSinceMs = 0;
  #askedMs = 0;
  /** Known to be without any worker at this moment. */
  isNobodyThere = false;

  /** @param {number} nowMs */
  begin(nowMs) {
    this.#waitingSinceMs = nowMs;
    this.#askedMs = 0;
    this.isNobodyThere = false;
  }

  /** A word came, or nobody waits any more. */
  end() {
    this.#waitingSinceMs = 0;
    this.isNobodyThere = false;
  }

  /** @param {number} nowMs */
  async tick(nowMs) {
    const isWaiting = this.#waitingSinceMs > 0 && nowMs - this.#waitingSinceMs >= PATIENCE_MS;
    if (!isWaiting || nowMs - this.#askedMs < PATIENCE_MS) return;
    this.#askedMs = nowMs;
    const count = await countWorkers().catch(() => null); // only a remark depends on it
    this.isNobodyThere = count === 0 && this.#waitingSinceMs > 0;
  }
}
