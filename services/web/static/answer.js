// @ts-check
import { cloned } from './elements.js';

/** @typedef {import('./message.js').Message} Message */
/** @typedef {import('./message.js').Part} Part */

// A long answer is cut into blocks at line ends: laying out one node of 200 KB anew for each token makes pages slow.
const BLOCK_CHARS = 2_000;

/** Shows the parts of one answer, as text nodes only; within a generation it appends and never rewrites. */
export class AnswerView {
  #root;
  #generation = 0;
  /** @type {PartView[]} */
  #parts = [];

  /** @param {HTMLElement} root */
  constructor(root) {
    this.#root = root;
  }

  /** @param {Message} message */
  show(message) {
    if (message.generation !== this.#generation) this.#clear(message.generation);
    message.parts.forEach((part, at) => {
      this.#parts[at] ??= this.#open(part);
      this.#parts[at].show(part);
    });
  }

  /** @param {number} generation */
  #clear(generation) {
    this.#root.replaceChildren();
    this.#parts = [];
    this.#generation = generation;
  }

  /**
   * @param {Part} part
   * @returns {PartView}
   */
  #open(part) {
    const element = elementFor(part);
    element.dataset.kind = part.type;
    this.#root.append(element);
    return new PartView(element.querySelector('.run') ?? element);
  }
}

/** The text of one part, growing. */
class PartView {
  #root;
  #shown = 0;
  /** @type {HTMLElement | null} */
  #block = null;
  #blockChars = 0;

  /** @param {Element} root */
  constructor(root) {
    this.#root = root;
  }

  /** @param {Part} part */
  show(part) {
    const text = runOf(part);
    if (text.length === this.#shown) return;
    this.#append(text.slice(this.#shown));
    this.#shown = text.length;
  }

  /** @param {string} text */
  #append(text) {
    let rest = text;
    while (rest !== '') {
      this.#block ??= this.#newBlock();
      const cut = lineEndAfter(rest, BLOCK_CHARS - this.#blockChars);
      const piece = cut < 0 ? rest : rest.slice(0, cut);
      appendText(this.#block, piece);
      this.#blockChars += piece.length;
      if (cut >= 0) this.#block = null;
      rest = rest.slice(piece.length);
    }
  }

  #newBlock() {
    const block = document.createElement('div');
    block.className = 'block';
    this.#root.append(block);
    this.#blockChars = 0;
    return block;
  }
}

/**
 * @param {Element} block
 * @param {string} text
 */
function appendText(block, text) {
  const node = block.lastChild;
  if (node instanceof Text) node.appendData(text);
  else block.append(text);
}

/**
 * @param {string} text
 * @param {number} from
 * @returns {number} the place behind the first line end at or after `from`, -1 if there is none
 */
function lineEndAfter(text, from) {
  const at = text.indexOf('\n', Math.max(0, from));
  return at < 0 ? -1 : at + 1;
}

/**
 * @param {Part} part
 * @returns {string}
 */
function runOf(part) {
  if (part.type === 'tool_call') return part.arguments;
  return part.type === 'gap' ? gapWords(part.reason) : part.text;
}

/**
 * @param {string} reason
 * @returns {string}
 */
function gapWords(reason) {
  const why = reason === '' ? '' : ` (${reason.replaceAll('_', ' ')})`;
  return `Some text is missing here${why}. What follows goes on after it.`;
}

/**
 * @param {Part} part
 * @returns {HTMLElement}
 */
function elementFor(part) {
  if (part.type === 'reasoning') return cloned('reasoning-template');
  if (part.type === 'tool_call') {
    const element = cloned('tool-template');
    element.querySelector('.name')?.append(part.name || 'tool');
    return element;
  }
  const element = document.createElement('div');
  element.className = `part ${part.type}`;
  return element;
}
