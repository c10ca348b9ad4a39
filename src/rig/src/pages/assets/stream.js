// The API's own stream: the value with each change, without the aggregator between.

import { exactValue } from "./shared.js";

// A browser does not try again after an answer that is no stream, such as 503.
const AGAIN_MS = 2_000;

/**
 * Follows the stream at `url` from `open` to `close`. `value` is the last one or `undefined`, `since`
 * when it came, `trouble` what is wrong, in words, or `undefined`. `changed()` is called for each change
 * of any of them.
 */
export class Stream {
  value = undefined;
  since = undefined;
  trouble = undefined;

  constructor(changed) {
    this.changed = changed;
  }

  get isOpen() {
    return this.source !== undefined;
  }

  open(url) {
    this.close();
    const source = new EventSource(url);
    this.source = source;
    source.addEventListener("open", () => this.say(undefined));
    source.addEventListener("message", (event) => this.receive(event.data));
    source.addEventListener("stale", (event) => this.stale(event.data));
    source.addEventListener("fresh", () => this.say(undefined));
    source.addEventListener("error", () => this.failed(source, url));
  }

  close() {
    clearTimeout(this.again);
    this.source?.close();
    this.source = undefined;
    this.value = undefined;
    this.trouble = undefined;
  }

  receive(text) {
    const body = JSON.parse(text, exactValue);
    if (body.error !== undefined) {
      this.say(body.error);
      return;
    }
    const plain = JSON.parse(text).current;
    this.value = typeof plain === "object" ? JSON.stringify(plain) : body.current;
    this.since = Date.now();
    this.say(undefined);
  }

  stale(text) {
    const { age, error } = JSON.parse(text);
    this.say(error ?? `the data are ${age} s old`);
  }

  failed(source, url) {
    if (this.source !== source) return;
    if (source.readyState === EventSource.CLOSED) {
      this.again = setTimeout(() => this.open(url), AGAIN_MS * (0.5 + Math.random()));
    }
    this.say("the connection to the API is lost; reconnecting");
  }

  say(trouble) {
    this.trouble = trouble;
    this.changed();
  }
}
