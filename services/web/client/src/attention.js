// @ts-check

/**
 * Whether somebody looks: hears of the network or the reader coming back, and of a tab that has been hidden for long.
 * A browser opens six connections to a server over HTTP/1.1, for all its tabs together: who is not looked at lets go.
 */
export class Attention {
  #restMs;
  #document = globalThis.document;
  #timer = 0;
  /** Hidden for so long that nobody will miss the connection. */
  isResting = false;
  // What happens at this moment; whoever waits for it puts itself here.
  onWake = () => {};
  onRest = () => {};

  /** @param {number} restMs  how long a tab may be hidden */
  constructor(restMs) {
    this.#restMs = restMs;
    globalThis.addEventListener?.('online', this.#onOnline);
    this.#document?.addEventListener('visibilitychange', this.#onVisibility);
    if (this.#document?.visibilityState === 'hidden') this.#onVisibility();
  }

  close() {
    clearTimeout(this.#timer);
    globalThis.removeEventListener?.('online', this.#onOnline);
    this.#document?.removeEventListener('visibilitychange', this.#onVisibility);
  }

  #onOnline = () => {
    if (!this.isResting) this.onWake();
  };

  #onVisibility = () => {
    clearTimeout(this.#timer);
    if (this.#document.visibilityState === 'hidden') {
      this.#timer = /** @type {any} */ (setTimeout(this.#rest, this.#restMs));
      return;
    }
    this.isResting = false;
    this.onWake();
  };

  #rest = () => {
    this.isResting = true;
    this.onRest();
  };
}
