// What both pages share: showing text, numbers in words, the feed of boards, charts, notices.
//
// Every text from a board goes in by `show`, and so as text: errors come from the network.

export const byId = (id) => document.getElementById(id);

/** Sets an element's text, if it is another: a screen reader repeats what is set again. */
export function show(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Sets `data-NAME`, or takes it away if there is no value. */
export function mark(element, name, value) {
  if (value === undefined || value === false) delete element.dataset[name];
  else element.dataset[name] = String(value);
}

// --- numbers ---

export const NOTHING = "–";

const known = (number) => typeof number === "number" && Number.isFinite(number);

/** Three digits, without an exponent for what is below `next`. */
function digits(value) {
  if (value >= 99.95) return value.toFixed(0);
  return value >= 9.995 ? value.toFixed(1) : value.toFixed(2);
}

/** A latency in ns as µs, ms or s. 0: there was no answer. */
export function latency(ns) {
  if (!known(ns) || ns <= 0) return NOTHING;
  // 999.6 µs is 1.00 ms: what rounds to four digits belongs to the next unit.
  if (ns < 999.5e3) return `${digits(ns / 1e3)} µs`;
  if (ns < 999.5e6) return `${digits(ns / 1e6)} ms`;
  return `${digits(ns / 1e9)} s`;
}

export function count(number) {
  return known(number) ? Math.round(number).toLocaleString("en") : NOTHING;
}

export function rate(perSecond) {
  if (!known(perSecond)) return NOTHING;
  return perSecond === 0 || perSecond >= 99.95 ? count(perSecond) : perSecond.toFixed(1);
}

/** A share (0 to 1) in percent, never rounded up: 100 % means all. */
export function percent(share) {
  if (!known(share)) return NOTHING;
  if (share >= 1) return "100 %";
  const scale = share >= 0.99 ? 100 : 10;
  // 0.57 is a little less than that as a double, and is 57 % all the same.
  const floor = Math.floor(share * 100 * scale + 1e-6) / scale;
  return share > 0 && floor === 0 ? "< 0.1 %" : `${floor} %`;
}

export function small(number) {
  return known(number) ? digits(number) : NOTHING;
}

/** Cores in use: to the millicore, as people know them. */
export function cores(number) {
  return known(number) ? number.toFixed(number < 1 ? 3 : 2) : NOTHING;
}

/** The length of a window: `10 s`, `2.5 s`. */
export function seconds(number) {
  return known(number) ? `${Math.round(number * 10) / 10} s` : NOTHING;
}

export function bytes(number) {
  return known(number) ? `${digits(number / 2 ** 20)} MiB` : NOTHING;
}

export function clock(ms) {
  return new Date(ms).toLocaleTimeString("en-GB");
}

/** A time that has passed, in the unit that fits. */
export function duration(ms) {
  if (!known(ms)) return NOTHING;
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  return minutes < 120 ? `${minutes} min` : `${Math.floor(minutes / 60)} h`;
}

export const plural = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

// --- the feed ---

const STALE_MS = 3_000;
// An open connection on which nothing comes any more may be one that nobody has at its other end.
const SILENT_MS = 10_000;
const LOOK_MS = 250;

/** The value as it was written: a number of JSON may have more digits than one of JavaScript. */
export function exactValue(key, value, context) {
  const isValue = key === "value" || key === "current";
  return isValue && typeof value === "number" ? (context?.source ?? String(value)) : value;
}

const isSeen = () => document.visibilityState === "visible";

/**
 * Follows `/events` while somebody can see the page, and connects again by itself. A browser has six
 * connections to a server, for all its pages together: those that nobody sees need none.
 *
 * `board` is the last one or `undefined`, `text` what came on the wire; `state` is `waiting`,
 * `live`, `stale` or `lost`; `since` is when the last board came. `changed(fresh)` is called with
 * `true` for a new board and with `false` when only the state is another.
 */
export class Feed {
  state = "waiting";
  board = undefined;
  text = undefined;
  since = Date.now();

  constructor(changed) {
    this.changed = changed;
    this.lost = false;
    this.opened = performance.now();
    this.open();
    setInterval(() => this.look(), LOOK_MS);
    document.addEventListener("visibilitychange", () => this.open());
  }

  open() {
    this.source?.close();
    if (!isSeen()) return;
    this.source = new EventSource("/events");
    this.opened = performance.now();
    this.source.addEventListener("message", (event) => this.receive(event.data));
    this.source.addEventListener("open", () => { this.lost = false; });
    this.source.addEventListener("error", () => { this.lost = true; this.look(); });
  }

  receive(text) {
    let board;
    try {
      board = JSON.parse(text, exactValue);
    } catch {
      // The watch for silence deals with what is no board.
      return;
    }
    // One that is said again, as to whoever has just connected, is no news.
    if (board.at_ms === this.board?.at_ms) return;
    this.board = board;
    this.text = text;
    this.since = Date.now();
    this.received = performance.now();
    this.lost = false;
    this.state = "live";
    this.changed(true);
  }

  look() {
    if (!isSeen()) return;
    const now = performance.now();
    const silent = now - Math.max(this.received ?? 0, this.opened);
    // The browser tries again after most failures, but gives up after an answer that is no stream.
    const over = this.source.readyState === EventSource.CLOSED && silent > STALE_MS;
    if (over || silent > SILENT_MS) this.open();
    const state = this.stateAt(now);
    if (state === this.state) return;
    this.state = state;
    this.changed(false);
  }

  stateAt(now) {
    if (this.lost) return "lost";
    if (this.received === undefined) return "waiting";
    return now - this.received > STALE_MS ? "stale" : "live";
  }
}

/** The pill in the head of a page. */
export function showStatus(feed) {
  const texts = {
    waiting: "waiting for data",
    live: `live, ${clock(feed.since)}`,
    stale: `no data since ${clock(feed.since)}`,
    lost: "connection lost",
  };
  show(byId("status"), texts[feed.state]);
  mark(byId("status"), "state", feed.state);
  mark(byId("figures"), "old", feed.state === "stale" || feed.state === "lost");
}

/** What is wrong with the feed itself: `{level, text}`, or nothing. */
export function feedTrouble(feed) {
  if (feed.state === "stale") {
    return { level: "bad", text: `No data since ${clock(feed.since)}. The figures are out of date.` };
  }
  if (feed.state === "lost") {
    const old = feed.board ? ` The figures are from ${clock(feed.since)}.` : "";
    return { level: "bad", text: `Connection to the aggregator lost; reconnecting.${old}` };
  }
  return undefined;
}

/** Shows notices, each `{level, text}`, in place of those before. */
export function showNotices(notices) {
  const holder = byId("notices");
  while (holder.children.length > notices.length) holder.lastChild.remove();
  notices.forEach(({ level, text }, n) => {
    if (!holder.children[n]) holder.append(document.createElement("p"));
    const notice = holder.children[n];
    notice.className = "notice";
    mark(notice, "level", level);
    show(notice, text);
  });
}

/** For how long the value has not changed, by the clock of the aggregator alone. */
export function valueAge(board) {
  const since = board.current?.since_ms;
  if (!known(since)) return NOTHING;
  const age = board.at_ms - since;
  return age < 1_500 ? "changed just now" : `unchanged for ${duration(age)}`;
}

// --- charts ---

const DARK = matchMedia("(prefers-color-scheme: dark)");
const NARROW = matchMedia("(max-width: 40rem)");
const CHART_MS = 10_000;

/** The images of the charts, got again for each board while somebody can see them. */
export class Charts {
  loading = new Map();
  /** They are drawn as of now: none that stand still can be had in another theme. */
  paused = false;

  constructor() {
    this.holders = [...document.querySelectorAll("[data-chart]")];
    this.at = Date.now();
    this.refresh(this.at);
    const again = () => this.refresh(this.at);
    document.addEventListener("visibilitychange", again);
    DARK.addEventListener("change", again);
    NARROW.addEventListener("change", again);
  }

  refresh(at) {
    this.at = at;
    if (this.paused || !isSeen()) return;
    this.holders.forEach((holder) => this.load(holder));
  }

  /** Loads beside the image that is shown and swaps when it can be painted: no flicker. */
  async load(holder) {
    const before = this.loading.get(holder);
    // One at a time on a slow network; but none may hang for ever.
    if (before && performance.now() - before.since < CHART_MS) return;
    const image = new Image();
    const load = { since: performance.now() };
    this.loading.set(holder, load);
    const theme = DARK.matches ? "dark" : "light";
    const size = NARROW.matches ? "narrow" : "wide";
    image.alt = holder.dataset.alt;
    image.src = `/charts/${holder.dataset.chart}.svg?theme=${theme}&size=${size}&at=${this.at}`;
    try {
      await image.decode();
      if (this.loading.get(holder) === load) holder.replaceChildren(image);
    } catch {
      // The one before stays; the next board brings the next try, and the head says what is wrong.
    } finally {
      if (this.loading.get(holder) === load) this.loading.delete(holder);
    }
  }
}
