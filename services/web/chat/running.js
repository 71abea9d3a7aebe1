// @ts-check
import { listRunning } from './api.js';
import { loadTurn } from './archive.js';
import { setText, within } from './elements.js';
import { runningWords } from './wording.js';

/** @typedef {import('./api.js').RunningStream} RunningStream */

const EVERY_MS = 5_000;
const MOST = 6;

/** The answers that are being written at this moment, on the page that shows none: each is one click away. */
export class RunningList {
  #storage;
  #section = within(document, '#running', HTMLElement);
  #list = within(document, '#running-list', HTMLUListElement);
  #askedMs = 0;

  /** @param {Storage | null} storage */
  constructor(storage) {
    this.#storage = storage;
  }

  hide() {
    this.#section.hidden = true;
    this.#askedMs = 0;
  }

  /** @param {number} nowMs */
  async tick(nowMs) {
    if (nowMs - this.#askedMs < EVERY_MS || document.visibilityState === 'hidden') return;
    this.#askedMs = nowMs;
    const streams = await listRunning(MOST).catch(() => []); // the model list says that the server is away
    if (this.#askedMs !== nowMs) return; // hidden meanwhile
    this.#show(streams, nowMs);
  }

  /**
   * @param {readonly RunningStream[]} streams
   * @param {number} nowMs
   */
  #show(streams, nowMs) {
    this.#section.hidden = streams.length === 0;
    while (this.#list.children.length > streams.length) this.#list.lastElementChild?.remove();
    streams.forEach((stream, at) => {
      const link = within(this.#list.children[at] ?? this.#newItem(), 'a', HTMLAnchorElement);
      link.href = `/?stream=${stream.id}`;
      // Questions are kept by the browser that asked them; others see that there is an answer, and which model writes.
      const prompt = loadTurn(this.#storage, stream.id)?.prompt ?? '';
      setText(within(link, '.what', HTMLElement), prompt === '' ? 'Asked elsewhere' : prompt);
      setText(within(link, '.how', HTMLElement), runningWords(stream, nowMs));
    });
  }

  #newItem() {
    const template = within(document, '#running-template', HTMLTemplateElement);
    this.#list.append(template.content.cloneNode(true));
    return /** @type {Element} */ (this.#list.lastElementChild);
  }
}
