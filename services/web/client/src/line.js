// @ts-check

/**
 * `stallMs`: the silence after which a connection is cut; `quietMs`: the silence forgiven when the machine wakes up.
 * @typedef {{stallMs: number, quietMs: number}} LineLimits
 */

/** One connection: a fetch that is cut when no byte arrives for too long. `read` and `open` never throw. */
export class Line {
  #limits;
  #controller = new AbortController();
  #heardMs = Date.now();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer = undefined;
  /** @type {ReadableStreamDefaultReader<Uint8Array> | undefined} */
  #reader = undefined;
  /** Why it is over; `network` unless somebody said otherwise. */
  reason = 'network';

  /** @param {LineLimits} limits */
  constructor(limits) {
    this.#limits = limits;
  }

  /**
   * @param {string | URL} url
   * @param {Record<string, string>} headers
   * @returns {Promise<Response | null>} null: no answer
   */
  async open(url, headers) {
    this.#hear();
    try {
      const response = await fetch(url, { headers, cache: 'no-store', signal: this.#controller.signal });
      this.#hear();
      return response;
    } catch {
      return null; // refused, reset, cut by us: `reason` tells
    }
  }

  /**
   * @param {Response} response
   */
  attach(response) {
    this.#reader = response.body?.getReader();
  }

  /** @returns {Promise<Uint8Array | null>} null: the connection is over */
  async read() {
    try {
      const chunk = await this.#reader?.read();
      this.#hear();
      if (chunk === undefined || chunk.done) this.reason = 'closed';
      return chunk?.value ?? null;
    } catch {
      return null;
    }
  }

  /** @param {string} reason */
  cut(reason) {
    clearTimeout(this.#timer);
    this.reason = reason;
    this.#controller.abort();
  }

  /** After sleep or a change of network the old connection is often dead without knowing it. */
  cutIfQuiet() {
    if (Date.now() - this.#heardMs > this.#limits.quietMs) this.cut('stalled');
  }

  #hear() {
    this.#heardMs = Date.now();
    clearTimeout(this.#timer);
    if (!this.#controller.signal.aborted) this.#timer = setTimeout(() => this.cut('stalled'), this.#limits.stallMs);
  }
}
