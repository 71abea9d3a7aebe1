// @ts-check
import { AnswerView } from './answer.js';
import { cloned, setText, within } from './elements.js';
import { isWorthRetrying } from '../client/src/failure.js';
import { textOf } from '../client/src/message.js';
import { factsOf, failureWords, lackWords } from './wording.js';

/** @typedef {import('./conversation.js').Turn} Turn */
/** @typedef {import('../client/src/failure.js').Failure} Failure */

/**
 * `live`: the answer is being followed; `failure`: what is wrong with the way to it.
 * @typedef {{isFirst: boolean, isLast: boolean, live: boolean, failure: Failure | null, nowMs: number}} How
 */

/** One question with its answer. */
export class TurnView {
  #turn;
  #settled = false;
  #article = cloned('turn-template');
  #lack = within(this.#article, '.lack', HTMLElement);
  #question = within(this.#article, '.question', HTMLElement);
  #answer = within(this.#article, '.answer', HTMLElement);
  #figures = within(this.#article, '.figures', HTMLElement);
  #trouble = within(this.#article, '.trouble', HTMLElement);
  #words = within(this.#article, '.words', HTMLElement);
  #retry = within(this.#article, '.retry', HTMLButtonElement);
  #tab = within(this.#article, '.tab', HTMLAnchorElement);
  #copy = within(this.#article, '.copy', HTMLButtonElement);
  #parts = new AnswerView(this.#answer);

  /**
   * @param {HTMLElement} parent
   * @param {Turn} turn
   * @param {() => void} onRetry
   */
  constructor(parent, turn, onRetry) {
    this.#turn = turn;
    this.#retry.addEventListener('click', onRetry);
    this.#copy.addEventListener('click', () => this.#copyText());
    parent.append(this.#article);
  }

  /** @returns {string} the turn's */
  get key() {
    return this.#turn.key;
  }

  /** The page has another width. */
  reflow() {
    this.#parts.reflow(this.#turn.message);
  }

  /**
   * @param {Turn} turn
   * @param {How} how
   */
  show(turn, how) {
    // Earlier turns do not change any more, and there may be many of them in each frame.
    if (this.#settled && turn === this.#turn && !how.isLast) return;
    this.#settled = !how.isLast;
    this.#turn = turn;
    setText(this.#question, turn.prompt);
    this.#question.hidden = turn.prompt === '';
    const lack = lackWords(turn, { isFirst: how.isFirst, isThere: how.failure === null && turn.message.status !== 'queued' });
    setText(this.#lack, lack);
    this.#lack.hidden = lack === '';
    this.#parts.show(turn.message);
    // Of an answer that never was there is nothing to count.
    setText(this.#figures, how.failure !== null && turn.message.parts.length === 0 ? '' : factsOf(turn, how.nowMs));
    this.#mark(how);
    this.#showTrouble(how);
    this.#showTools(how);
  }

  /** @param {How} how */
  #mark({ isLast, live }) {
    this.#article.classList.toggle('is-live', live);
    this.#article.setAttribute('aria-busy', String(live));
    if (isLast) this.#answer.dataset.testid = 'answer';
    else delete this.#answer.dataset.testid;
  }

  /** @param {How} how */
  #showTrouble({ isLast, live, failure }) {
    const error = failure ?? this.#turn.message.error;
    this.#trouble.hidden = error === null;
    // Without the question there is nothing to ask again; the way to the answer may be tried again, though.
    const canHelp = error !== null && isWorthRetrying(error) && (this.#turn.prompt !== '' || failure?.retryable === true);
    this.#retry.hidden = !isLast || live || !canHelp;
    if (error !== null) setText(this.#words, failureWords(error));
  }

  /** @param {How} how */
  #showTools({ live, failure }) {
    const { stream, message } = this.#turn;
    this.#tab.hidden = stream === '' || failure !== null;
    this.#tab.href = `/?stream=${stream}`;
    // Browsers give no clipboard to pages on plain http.
    this.#copy.hidden = live || message.parts.length === 0 || navigator.clipboard === undefined;
  }

  async #copyText() {
    const text = textOf(this.#turn.message);
    const outcome = await navigator.clipboard.writeText(text).then(
      () => 'Copied',
      () => 'Not allowed',
    );
    setText(this.#copy, outcome);
    setTimeout(() => setText(this.#copy, 'Copy'), 1_500);
  }
}
