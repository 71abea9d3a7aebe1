// @ts-check

/**
 * One dispatched block of an event stream.
 * `id` is the last event id in force (undefined: none was ever sent), `data` is undefined for a block without data,
 * `retryMs` is there only if the block carried a valid `retry:`.
 * @typedef {{id: string | undefined, data: string | undefined, retryMs: number | undefined}} Frame
 */

/**
 * Parses `text/event-stream` bytes as the HTML standard says: CR, LF and CRLF end a line, a chunk may be cut anywhere
 * (also inside a character or between CR and LF), one leading BOM is dropped, comments are skipped, and a block
 * without its blank line is never dispatched: a cut connection cannot move the cursor past half an event.
 */
export class SseParser {
  // Not fatal: the standard replaces malformed bytes. The decoder also removes the BOM, whole or in pieces.
  #decoder = new TextDecoder('utf-8');
  #rest = '';
  #afterCr = false;
  /** @type {string | undefined} */
  #id = undefined;
  /** @type {string[]} */
  #data = [];
  /** @type {number | undefined} */
  #retryMs = undefined;

  /**
   * Take the next bytes and return the frames they complete, in order.
   * @param {Uint8Array} bytes
   * @returns {Frame[]}
   */
  feed(bytes) {
    /** @type {Frame[]} */
    const frames = [];
    for (const line of this.#lines(bytes)) {
      if (line === '') frames.push(this.#dispatch());
      else this.#field(line);
    }
    return frames;
  }

  /**
   * @param {Uint8Array} bytes
   * @returns {string[]} complete lines, without their ends
   */
  #lines(bytes) {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (text === '') return [];
    // A CR ends its line at once, so that the last event before a pause is not held back; its LF may come later.
    if (this.#afterCr && text[0] === '\n') text = text.slice(1);
    this.#afterCr = text === '' ? false : text.endsWith('\r');
    const lines = text.split(/\r\n|\r|\n/);
    lines[0] = this.#rest + lines[0];
    this.#rest = lines.pop() ?? '';
    return lines;
  }

  /** @param {string} line */
  #field(line) {
    const colon = line.indexOf(':');
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
    if (name === 'data') this.#data.push(value);
    if (name === 'id' && !value.includes('\0')) this.#id = value;
    if (name === 'retry' && /^\d+$/.test(value)) this.#retryMs = Number(value);
  }

  /** @returns {Frame} */
  #dispatch() {
    const data = this.#data.length === 0 ? undefined : this.#data.join('\n');
    const frame = { id: this.#id, data, retryMs: this.#retryMs };
    this.#data = [];
    this.#retryMs = undefined;
    return frame;
  }
}
