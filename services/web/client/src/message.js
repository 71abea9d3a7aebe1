// @ts-check

/**
 * @typedef {{type: 'text', text: string}
 *   | {type: 'reasoning', text: string}
 *   | {type: 'refusal', text: string}
 *   | {type: 'tool_call', index: number, id: string, name: string, arguments: string}
 *   | {type: 'gap', reason: string}} Part
 */

/** @typedef {'queued' | 'running' | 'done' | 'error' | 'cancelled'} Status */

/** @typedef {{code: string, message: string, retryable: boolean}} StreamError */

/**
 * One answer as far as it is known. `generation` rises when what was shown must be thrown away; while it stays the
 * same, parts only grow at their end, so a view may append.
 * @typedef {object} Message
 * @property {Status} status
 * @property {number} generation
 * @property {number} resets  how often the answer was taken back
 * @property {number} takeovers  how often another worker went on where the one before had stopped
 * @property {number} attempt  of the last event that had an id; 0: not known
 * @property {readonly Part[]} parts
 * @property {string} model
 * @property {string} provider
 * @property {Record<string, number> | null} usage
 * @property {string | null} finishReason
 * @property {StreamError | null} error
 */

/** @typedef {import('./client.js').StreamEvent} StreamEvent */

/**
 * @param {string} model
 * @returns {Message}
 */
export function newMessage(model = '') {
  return {
    status: 'queued',
    generation: 0,
    resets: 0,
    takeovers: 0,
    attempt: 0,
    parts: [],
    model,
    provider: '',
    usage: null,
    finishReason: null,
    error: null,
  };
}

/** @type {ReadonlySet<string>} */
const PARTS = new Set(['text', 'reasoning', 'refusal', 'tool_call', 'gap']);

/** @type {Record<string, (message: Message, event: StreamEvent) => Message>} */
const REDUCERS = {
  start: onStart,
  text: onDelta,
  reasoning: onDelta,
  refusal: onDelta,
  tool_call: onToolCall,
  usage: (message, { type: _, ...usage }) => ({ ...message, usage }),
  reset: onReset,
  gap: (message, event) => addPart(message, { type: 'gap', reason: String(event.reason ?? '') }),
  done: (message, event) => ({ ...message, status: 'done', finishReason: event.finish_reason ?? null }),
  cancelled: (message) => ({ ...message, status: 'cancelled' }),
  error: (message, event) => ({ ...message, status: 'error', error: asError(event) }),
};

/**
 * What a message becomes by an event; pure. Unknown events change nothing.
 * @param {Message} message
 * @param {StreamEvent} event
 * @param {string} [id]  `attempt-offset.nonce`
 * @returns {Message}
 */
export function applyEvent(message, event, id) {
  const reduce = Object.hasOwn(REDUCERS, event.type) ? REDUCERS[event.type] : undefined;
  return noteAttempt(reduce === undefined ? message : reduce(message, event), event, id);
}

/**
 * A higher attempt is another worker. What starts over is counted as that, not as a takeover.
 * @param {Message} message
 * @param {StreamEvent} event
 * @param {string | undefined} id
 * @returns {Message}
 */
function noteAttempt(message, event, id) {
  const attempt = parseInt(id ?? '', 10) || 0;
  if (event.type === 'reset') return message.attempt === 0 ? message : { ...message, attempt: 0 };
  if (attempt <= message.attempt) return message;
  const isNews = message.attempt > 0 && event.type !== 'error' && event.type !== 'cancelled';
  return { ...message, attempt, takeovers: message.takeovers + (isNews ? 1 : 0) };
}

/**
 * What a message becomes by the answer of `GET /v1/streams/{id}`: the whole of it, as when it was never followed.
 * @param {Message} message
 * @param {Record<string, any>} state
 * @returns {Message}
 */
export function applyState(message, state) {
  return {
    ...replaceParts(message, state.content),
    status: state.status,
    model: state.model ?? message.model,
    provider: state.provider ?? message.provider,
    usage: state.usage ?? message.usage,
    finishReason: state.finish_reason ?? null,
    error: state.error ? asError(state.error) : null,
  };
}

/**
 * @param {Message} message
 * @returns {boolean} whether nothing can follow
 */
export function isOver(message) {
  return message.status === 'done' || message.status === 'error' || message.status === 'cancelled';
}

/**
 * @param {Message} message
 * @param {string} reason
 * @returns {Message} with a place that says what is missing, and nothing to come
 */
export function addGap(message, reason) {
  return { ...addPart(message, { type: 'gap', reason }), status: 'done' };
}

/**
 * The words of an answer, without reasoning and tools: what a next question sends along.
 * @param {Message} message
 * @returns {string}
 */
export function textOf(message) {
  return message.parts.map((part) => (part.type === 'text' || part.type === 'refusal' ? part.text : '')).join('');
}

/**
 * A start comes first on a connection without cursor, so the stream is told from its beginning.
 * @type {(message: Message, event: StreamEvent) => Message}
 */
function onStart(message, event) {
  return {
    ...(message.parts.length === 0 ? message : replaceParts(message, [])),
    status: 'running',
    model: event.model ?? message.model,
    provider: event.provider ?? message.provider,
  };
}

/** @type {(message: Message, event: StreamEvent) => Message} */
function onDelta(message, event) {
  const type = /** @type {'text' | 'reasoning' | 'refusal'} */ (event.type);
  const delta = String(event.delta ?? '');
  const last = message.parts.at(-1);
  if (last?.type !== type) return addPart(message, { type, text: delta });
  return replaceLast(message, { type, text: last.text + delta });
}

/** @type {(message: Message, event: StreamEvent) => Message} */
function onToolCall(message, event) {
  const { index } = event;
  const delta = String(event.arguments_delta ?? '');
  const at = message.parts.findLastIndex((part) => part.type === 'tool_call' && part.index === index);
  const open = message.parts[at];
  // The same index with an id of its own is the next call, not more of the last.
  if (open?.type !== 'tool_call' || event.id !== undefined) {
    const { id = '', name = '' } = event;
    return addPart(message, { type: 'tool_call', index, id, name, arguments: delta });
  }
  const grown = { ...open, arguments: open.arguments + delta };
  return { ...message, status: 'running', parts: message.parts.with(at, grown) };
}

/** @type {(message: Message, event: StreamEvent) => Message} */
function onReset(message, event) {
  return { ...replaceParts(message, event.parts), status: 'running', usage: null, resets: message.resets + 1 };
}

/**
 * @param {Message} message
 * @param {Part} part
 * @returns {Message}
 */
function addPart(message, part) {
  return { ...message, status: 'running', parts: [...message.parts, part] };
}

/**
 * @param {Message} message
 * @param {Part} part
 * @returns {Message}
 */
function replaceLast(message, part) {
  return { ...message, status: 'running', parts: [...message.parts.slice(0, -1), part] };
}

/**
 * @param {Message} message
 * @param {readonly Part[] | undefined} parts
 * @returns {Message}
 */
function replaceParts(message, parts) {
  // What a newer server adds (files, for one) is nothing that this page can show.
  const known = (parts ?? []).filter((part) => PARTS.has(part.type));
  return { ...message, generation: message.generation + 1, parts: known };
}

/**
 * @param {Record<string, any>} event
 * @returns {StreamError}
 */
function asError({ code, message, retryable }) {
  return { code: String(code ?? 'unknown'), message: String(message ?? ''), retryable: Boolean(retryable) };
}
