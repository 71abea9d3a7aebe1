// @ts-check

/**
 * Why something did not work, in the server's words where it gave any. `status` is 0 if there was no answer at all.
 * @typedef {object} Failure
 * @property {number} status
 * @property {string} code
 * @property {string} message
 * @property {boolean} retryable
 * @property {number} [retry_after_ms]
 * @property {number} [gone_ms]  since when it is gone
 */

// The answer is gone for good, the question is not.
const FADED = new Set(['stream_expired', 'stream_evicted', 'stream_deleted', 'stream_gone']);
const TRANSIENT = new Set([408, 425, 429]);

/**
 * Read what a refusing answer says about itself.
 * @param {Response} response
 * @returns {Promise<Failure>}
 */
export async function readFailure(response) {
  const body = await response.json().catch(() => null); // proxies answer with HTML: then the status has to do
  const error = body?.error ?? {};
  const retryAfterS = Number(response.headers.get('retry-after') ?? NaN);
  return {
    ...error,
    status: response.status,
    code: String(error.code ?? `http_${response.status}`),
    message: String(error.message ?? `The server answered ${response.status}.`),
    retryable: Boolean(error.retryable ?? isTransient(response.status)),
    ...(Number.isFinite(retryAfterS) ? { retry_after_ms: retryAfterS * 1000 } : {}),
  };
}

/**
 * @param {number} status
 * @returns {boolean} whether asking again may help
 */
export function isTransient(status) {
  return status >= 500 || TRANSIENT.has(status);
}

/**
 * No answer at all: the network, or nobody is listening.
 * @returns {Failure}
 */
export function unreachable() {
  return { status: 0, code: 'unreachable', message: 'The server cannot be reached.', retryable: true };
}

/**
 * @param {string} reason  of the last lost connection
 * @returns {Failure}
 */
export function gaveUp(reason) {
  return { status: 0, code: 'gave_up', message: `The connection was lost too often (${reason}).`, retryable: true };
}

/**
 * @returns {Failure}
 */
export function unknownStream() {
  return { status: 404, code: 'unknown_stream', message: 'There is no such stream.', retryable: false };
}

/**
 * @param {Failure | import('./message.js').StreamError} failure
 * @returns {boolean} whether the same question may be answered if it is asked again
 */
export function isWorthRetrying({ code, retryable }) {
  return retryable || FADED.has(code);
}

/**
 * A fault of this page, not of the way to the server.
 * @returns {Failure}
 */
export function ownFault() {
  return { status: 0, code: 'page_fault', message: 'Something went wrong in this page. Reload it.', retryable: false };
}
