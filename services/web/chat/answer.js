// @ts-check
import { cloned } from './elements.js';
import { directionOf, lastLineStart } from './lines.js';

/** @typedef {import('../client/src/message.js').Message} Message */
/** @typedef {import('../client/src/message.js').Part} Part */

// A long answer is cut into blocks at line ends: laying out one node of 200 KB anew for each token makes pages slow.
const BLOCK_CHARS = 2_000;
// Where no line end comes, at a place where the browser has begun a new line anyway.
const LONG_CHARS = 4_000;

/** Shows the parts of one answer, as text nodes only; within a generation it appends and never rewrites. */
export class AnswerView {
  #root;
  #generation = 0;
  /** @type {PartView[]} */
  #parts = [];

  /** @param {HTMLElement} root */
  constructor(root) {
    this.#root = root;
    root.addEventListener('copy', copyExactly);
  }

  /** @param {Message} message */
  show(message) {
    if (message.generation !== this.#generation) this.#clear(message.generation);
    message.parts.forEach((part, at) => {
      this.#parts[at] ??= this.#open(part);
      this.#parts[at].show(part);
    });
  }

  /**
   * The page has another width: lines end elsewhere.
   * @param {Message} message
   */
  reflow(message) {
    message.parts.forEach((part, at) => this.#parts[at]?.reflow(part));
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
  #isCut = false;

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

  /** @param {Part} part */
  reflow(part) {
    if (!this.#isCut) return; // blocks that end with a line are right at any width
    this.#root.replaceChildren();
    this.#block = null;
    this.#shown = 0;
    this.#isCut = false;
    this.show(part);
  }

  /** @param {string} text */
  #append(text) {
    let rest = text;
    while (rest !== '') {
      const block = (this.#block ??= this.#newBlock());
      const piece = this.#pieceOf(rest, block);
      appendText(block, piece);
      this.#blockChars += piece.length;
      rest = rest.slice(piece.length);
      if (piece.endsWith('\n') && this.#endsHere(block)) this.#block = null;
      else if (this.#blockChars >= LONG_CHARS) this.#cut(block);
    }
  }

  /**
   * What of the text goes into the block: up to a line end that may end it, and no more than is laid out at once.
   * @param {string} text
   * @param {HTMLElement} block
   */
  #pieceOf(text, block) {
    const earliest = isRest(block) ? 0 : BLOCK_CHARS - this.#blockChars;
    const end = lineEndAfter(text, earliest);
    const most = LONG_CHARS - this.#blockChars;
    if (end > 0 && end <= most) return text.slice(0, end);
    return text.slice(0, Math.max(1, most));
  }

  /** @param {HTMLElement} block */
  #endsHere(block) {
    return isRest(block) || this.#blockChars >= BLOCK_CHARS;
  }

  /**
   * Move the block's last line, as the browser has broken it, to a block of its own: it stands where it stood.
   * @param {HTMLElement} block
   */
  #cut(block) {
    const node = /** @type {Text} */ (block.lastChild);
    const at = lastLineStart(node);
    const direction = isRest(block) ? block.dir : directionOf(node.data.slice(node.data.lastIndexOf('\n', at - 1) + 1));
    const line = node.data.slice(at);
    node.deleteData(at, line.length);
    this.#block = this.#newBlock();
    this.#isCut = true;
    this.#block.classList.add('rest');
    this.#block.dir = direction;
    appendText(this.#block, line);
    this.#blockChars = line.length;
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
 * @param {HTMLElement} block
 * @returns {boolean} whether it goes on with a line of the block before it
 */
function isRest(block) {
  return block.classList.contains('rest');
}

/**
 * A browser puts a line end between two blocks. Ours have their own, and a long line has none.
 * @param {ClipboardEvent} event
 */
function copyExactly(event) {
  const range = document.getSelection()?.getRangeAt(0);
  const around = range?.commonAncestorContainer;
  const element = around instanceof Element ? around : around?.parentElement;
  if (range === undefined || !element?.closest('.part')) return;
  event.clipboardData?.setData('text/plain', range.cloneContents().textContent ?? '');
  event.preventDefault();
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
