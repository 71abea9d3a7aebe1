// @ts-check

// A hidden tab gets no animation frames, but its title, its status and whoever drives it still want to be right.
const HIDDEN_MS = 250;

/** Runs a function at most once a frame, however often it is asked for. */
export class Painter {
  #paint;
  #frame = 0;
  #timer = 0;

  /** @param {() => void} paint */
  constructor(paint) {
    this.#paint = paint;
  }

  /** Something changed. */
  touch() {
    if (this.#timer !== 0) return;
    this.#frame = requestAnimationFrame(() => this.#run());
    this.#timer = window.setTimeout(() => this.#run(), HIDDEN_MS);
  }

  #run() {
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#paint();
  }
}
