// @ts-check
import { readFailure, unreachable } from '../client/src/failure.js';

/** @typedef {import('../client/src/failure.js').Failure} Failure */

/** @typedef {{role: 'user' | 'assistant', content: string}} ChatMessage */

/** @typedef {{model: string, messages: ChatMessage[]}} StreamRequest */

/** @typedef {{id: string, model: string, status: string, created_ms: number}} RunningStream */

const DEADLINE_MS = 15_000;
const TRIES = 3;
const BETWEEN_TRIES_MS = 400;

/** A call that did not work; `failure` says why, in words that may be shown. */
export class ApiError extends Error {
  /** @param {Failure} failure */
  constructor(failure) {
    super(failure.message);
    this.name = 'ApiError';
    this.failure = failure;
  }
}

/**
 * @param {string} id
 * @returns {string} where the events of a stream are
 */
export function eventsUrl(id) {
  return `/v1/streams/${id}/events`;
}

/**
 * Start an answer. The same key never starts two, so a lost answer to the POST is asked for again.
 * @param {StreamRequest} request
 * @param {string} key
 * @returns {Promise<string>} the stream id
 */
export async function createStream(request, key) {
  for (let tries = 1; ; tries += 1) {
    try {
      const created = await call('POST', '/v1/streams', { body: request, headers: { 'Idempotency-Key': key } });
      return created.id;
    } catch (error) {
      if (tries === TRIES || !(error instanceof ApiError) || error.failure.status !== 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, BETWEEN_TRIES_MS * tries * (0.5 + Math.random())));
    }
  }
}

/**
 * Stop an answer for everybody who follows it.
 * @param {string} id
 */
export async function cancelStream(id) {
  await call('POST', `/v1/streams/${id}/cancel`, { body: {} });
}

/**
 * @param {string} id
 * @returns {Promise<Record<string, any>>} the state of a stream, with its content so far
 */
export function readStream(id) {
  return call('GET', `/v1/streams/${id}`);
}

/**
 * The names of the models on offer, in the providers' order; patterns such as `gpt-*` name none.
 * @returns {Promise<string[]>}
 */
export async function listModels() {
  const { providers = [] } = await call('GET', '/v1/providers');
  /** @type {string[]} */
  const names = providers.flatMap((/** @type {{models?: string[], offers?: string[]}} */ { models = [], offers = models }) => offers);
  return [...new Set(names)].filter((name) => !/[*?[]/.test(name));
}

/**
 * @param {number} limit
 * @returns {Promise<RunningStream[]>} answers that are being written, or wait for it; newest first
 */
export async function listRunning(limit) {
  const { streams = [] } = await call('GET', `/v1/streams?status=live&limit=${limit}`);
  return streams;
}

/** @returns {Promise<number | null>} how many workers take questions; null: it is not known */
export async function countWorkers() {
  const { workers } = await call('GET', '/v1/stats');
  return workers?.count ?? null;
}

/**
 * @param {string} method
 * @param {string} path
 * @param {{body?: object, headers?: Record<string, string>}} options
 * @returns {Promise<any>} the answer's JSON
 */
async function call(method, path, { body, headers = {} } = {}) {
  const signal = AbortSignal.timeout(DEADLINE_MS);
  /** @type {RequestInit & {headers: Record<string, string>}} */
  const init = { method, signal, cache: 'no-store', headers: { Accept: 'application/json', ...headers } };
  if (body !== undefined) {
    init.headers['Content-Type'] = 'application/json';
    init.body = JSON.stringify(body);
  }
  const response = await fetch(path, init).catch(() => {
    throw new ApiError(unreachable());
  });
  if (!response.ok) throw new ApiError(await readFailure(response));
  return response.json();
}
