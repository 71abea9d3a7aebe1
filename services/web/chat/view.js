// @ts-check
import { setText, within } from './elements.js';
import { TurnView } from './turn.js';

/** @typedef {import('./conversation.js').Turn} Turn */
/** @typedef {import('../client/src/failure.js').Failure} Failure */

/**
 * What the reader does.
 * @typedef {object} Actions
 * @property {(prompt: string) => void} onAsk
 * @property {() => void} onStop
 * @property {() => void} onRetry
 * @property {() => void} onNew
 * @property {() => void} onModel
 * @property {() => void} onResize
 */

/**
 * What the page shows. `state` is one of idle, connecting, live, reconnecting, resting, ended, failed.
 * @typedef {object} Scene
 * @property {string} state
 * @property {string} status
 * @property {string} announcement
 * @property {boolean} busy  an answer is being followed
 * @property {boolean} stopping
 * @property {readonly Turn[]} turns
 * @property {Failure | null} failure  of the last turn
 * @property {number} nowMs
 */

// Within this distance of the end the reader follows the text; above it he is reading something else.
const FOLLOW_PX = 48;
const MAX_PROMPT_PX = 200;
const RESIZED_MS = 150;

/** The page: shows scenes, reports what the reader does. Text only ever goes in as text nodes. */
export class View {
  #actions;
  #dom = findElements();
  /** @type {TurnView[]} */
  #turns = [];
  #following = true;
  #widthPx = window.innerWidth;
  #resizeTimer = 0;

  /** @param {Actions} actions */
  constructor(actions) {
    this.#actions = actions;
    this.#listen();
  }

  /** @returns {string} the model's name */
  get model() {
    const { model, modelName } = this.#dom;
    return model.hidden ? modelName.value.trim() : model.value;
  }

  /**
   * Offer models; if none can be named, only patterns are served, and the reader types one.
   * @param {readonly string[]} models
   * @param {string} chosen
   */
  offerModels(models, chosen) {
    const { model, modelName } = this.#dom;
    model.replaceChildren(...models.map((name) => new Option(name, name, false, name === chosen)));
    model.hidden = models.length === 0;
    modelName.hidden = !model.hidden;
    this.#showTiny();
  }

  /** @param {Scene} scene */
  show(scene) {
    const { root, title, status, announcer, send, stop, welcome } = this.#dom;
    root.dataset.state = scene.state;
    setText(status, scene.status);
    status.title = scene.status; // it may be cut where there is no room
    setText(title, scene.turns.at(-1)?.prompt || (scene.turns.length > 0 ? 'Conversation' : 'A completion that cannot be lost.'));
    setText(announcer, scene.announcement);
    welcome.hidden = scene.turns.length > 0;
    send.hidden = scene.busy;
    stop.hidden = !scene.busy;
    stop.disabled = scene.stopping;
    this.#showTurns(scene);
    if (this.#following && scene.turns.length > 0) this.#scrollToEnd();
  }

  /** Put the reader where he writes; not on a phone, where it would open the keyboard. */
  focusPrompt() {
    if (matchMedia('(pointer: fine)').matches) this.#dom.prompt.focus();
  }

  /**
   * Let the reader have the words back that could not be sent, if he is not writing others.
   * @param {string} prompt
   */
  giveBack(prompt) {
    const field = this.#dom.prompt;
    if (field.value !== '') return;
    field.value = prompt;
    fitHeight(field);
  }

  /** From now on the newest text is kept in sight. */
  followEnd() {
    this.#following = true;
  }

  /** @param {Scene} scene */
  #showTurns({ turns, busy, failure, nowMs }) {
    if (this.#turns.some((view, at) => view.key !== turns[at]?.key)) {
      this.#turns = [];
      this.#dom.turns.replaceChildren();
    }
    turns.forEach((turn, at) => {
      const isLast = at === turns.length - 1;
      this.#turns[at] ??= new TurnView(this.#dom.turns, turn, this.#actions.onRetry);
      const how = { isFirst: at === 0, isLast, live: isLast && busy, failure: isLast ? failure : null, nowMs };
      this.#turns[at].show(turn, how);
    });
  }

  #scrollToEnd() {
    const { scroller } = this.#dom;
    scroller.scrollTop = scroller.scrollHeight;
  }

  #showTiny() {
    this.#dom.tiny.hidden = !this.model.startsWith('smollm2');
  }

  #ask() {
    const { prompt, send } = this.#dom;
    const text = prompt.value.trim();
    if (text === '' || send.hidden) return;
    prompt.value = '';
    fitHeight(prompt);
    this.#actions.onAsk(text);
  }

  #listen() {
    const { composer, prompt, stop, fresh, home, model, latest, scroller, root, examples } = this.#dom;
    composer.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#ask();
    });
    prompt.addEventListener('input', () => fitHeight(prompt));
    prompt.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.#ask();
    });
    root.addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && !event.isComposing && !stop.hidden && !stop.disabled) this.#actions.onStop();
    });
    stop.addEventListener('click', () => {
      this.#actions.onStop();
      this.focusPrompt();
    });
    fresh.addEventListener('click', () => this.#actions.onNew());
    home.addEventListener('click', (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      this.#actions.onNew();
    });
    model.addEventListener('change', () => {
      this.#showTiny();
      this.#actions.onModel();
    });
    latest.addEventListener('click', () => {
      this.followEnd();
      this.#scrollToEnd();
    });
    scroller.addEventListener('scroll', () => this.#onScroll(), { passive: true });
    window.addEventListener('resize', () => {
      clearTimeout(this.#resizeTimer);
      this.#resizeTimer = window.setTimeout(() => this.#onResize(), RESIZED_MS);
    });
    for (const example of examples) {
      example.addEventListener('click', () => this.#actions.onAsk(example.textContent ?? ''));
    }
  }

  #onResize() {
    if (window.innerWidth === this.#widthPx) return; // a keyboard came or went
    this.#widthPx = window.innerWidth;
    for (const turn of this.#turns) turn.reflow();
    this.#actions.onResize();
  }

  #onScroll() {
    const { scroller, latest } = this.#dom;
    const below = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;
    this.#following = below < FOLLOW_PX;
    latest.hidden = this.#following;
  }
}

/**
 * As high as its text; through the style object, which the content security policy allows where it forbids attributes.
 * @param {HTMLTextAreaElement} prompt
 */
function fitHeight(prompt) {
  prompt.style.height = '';
  const bordersPx = prompt.offsetHeight - prompt.clientHeight;
  if (prompt.value !== '') prompt.style.height = `${Math.min(prompt.scrollHeight + bordersPx, MAX_PROMPT_PX)}px`;
}

/** The page's fixed elements, each checked once so that the rest need not. */
function findElements() {
  return {
    root: document.documentElement,
    title: within(document, '#title', HTMLElement),
    home: within(document, '#home', HTMLAnchorElement),
    model: within(document, '#model', HTMLSelectElement),
    modelName: within(document, '#model-name', HTMLInputElement),
    fresh: within(document, '#new', HTMLButtonElement),
    scroller: within(document, '#scroller', HTMLElement),
    welcome: within(document, '#welcome', HTMLElement),
    tiny: within(document, '#tiny', HTMLElement),
    turns: within(document, '#turns', HTMLElement),
    latest: within(document, '#latest', HTMLButtonElement),
    composer: within(document, '#composer', HTMLFormElement),
    prompt: within(document, '#prompt', HTMLTextAreaElement),
    send: within(document, '#send', HTMLButtonElement),
    stop: within(document, '#stop', HTMLButtonElement),
    status: within(document, '#status', HTMLElement),
    announcer: within(document, '#announcer', HTMLElement),
    examples: [...document.querySelectorAll('[data-example]')],
  };
}
