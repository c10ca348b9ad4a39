// The dashboard: shows each board as it comes, until it is frozen.

import { complaints, generatorBanner } from "./notices.js";
import {
  Charts, Feed, NOTHING, byId, clock, count, feedTrouble, latency, mark, percent, rate, seconds, show,
  showNotices, showStatus, valueAge,
} from "./shared.js";
import { showBots, showErrors, showPods, watchBots } from "./tables.js";

/** What is shown while it is frozen: the board, what came on the wire, and a word on the file. */
let frozen;

const charts = new Charts();
const feed = new Feed((fresh) => { if (!frozen) update(fresh); });
const freezeButton = byId("freeze");
freezeButton.disabled = true;
freezeButton.addEventListener("click", () => (frozen ? goOn() : freeze()));
watchBots(() => { if (shown()) showBots(shown().bots); });
update(false);

function shown() {
  return frozen?.board ?? feed.board;
}

function update(fresh) {
  const { board } = feed;
  showStatus(feed);
  const trouble = feedTrouble(feed);
  // What an old board complains about is old too.
  mark(byId("banner"), "old", trouble !== undefined);
  showNotices(trouble ? [trouble] : board ? complaints(board) : []);
  if (!fresh) return;
  freezeButton.disabled = false;
  showBoard(board);
  charts.refresh(board.at_ms);
}

function showBoard(board) {
  const { summary } = board;
  showTraffic(summary);
  showValue(board);
  showLatencies(summary);
  showBanner(generatorBanner(summary));
  showPods(board.pods);
  showErrors(summary);
  showBots(board.bots);
  show(byId("footer"), `As of ${clock(board.at_ms)}. Percentiles are computed from the merged histograms of all bots.`);
}

function showTraffic(summary) {
  const some = summary.requests > 0;
  const failed = summary.requests - Math.round(summary.requests * summary.success);
  // Without a window nothing is known: that is not 0.
  const known = summary.window_seconds > 0;
  show(byId("sent"), known ? rate(summary.achieved_rate) : NOTHING);
  show(byId("target"), known || summary.target_rate > 0 ? rate(summary.target_rate) : NOTHING);
  show(byId("good"), known ? rate(summary.achieved_rate * summary.success) : NOTHING);
  const span = seconds(summary.window_seconds);
  show(byId("requests"), known ? `${count(summary.requests)} requests in ${span}` : "no data");
  show(byId("success"), some ? percent(summary.success) : NOTHING);
  show(byId("failed"), !some ? "no requests" : failed > 0 ? `${count(failed)} failed` : "none failed");
  mark(byId("success-tile"), "level", some && failed > 0 && (summary.success < 0.99 ? "bad" : "warn"));
}

function showValue(board) {
  const text = board.current?.value ?? NOTHING;
  show(byId("value"), String(text));
  mark(byId("value"), "long", text.length > 11 ? 2 : text.length > 7 && 1);
  const age = board.current ? valueAge(board) : "not watched";
  show(byId("value-age"), board.current?.trouble ? "can't be read" : age);
}

function showLatencies({ latencies, window_seconds }) {
  const shown = { p50: "50th", p90: "90th", p99: "99th", p999: "99.9th", max: "max" };
  for (const [id, member] of Object.entries(shown)) show(byId(id), latency(latencies[member]));
  show(byId("window"), window_seconds > 0 ? `over ${seconds(window_seconds)}` : "no data");
}

function showBanner(banner) {
  byId("banner").hidden = !banner;
  byId("invalid").hidden = !banner;
  mark(byId("latencies"), "invalid", Boolean(banner));
  show(byId("banner-title"), banner?.title ?? "");
  const reasons = byId("banner-reasons");
  reasons.replaceChildren(...(banner?.reasons ?? []).map((reason) => {
    const item = document.createElement("li");
    item.textContent = reason;
    return item;
  }));
}

// --- freezing ---

async function freeze() {
  frozen = { board: feed.board, text: feed.text };
  charts.paused = true;
  freezeButton.setAttribute("aria-pressed", "true");
  show(freezeButton, "Resume");
  mark(byId("status"), "state", "frozen");
  show(byId("status"), `frozen at ${clock(frozen.board.at_ms)}`);
  for (const id of ["figures", "banner"]) mark(byId(id), "old", false);
  sayFrozen("Downloading the history…");
  const now = frozen;
  const outcome = await download(now);
  if (frozen === now) sayFrozen(outcome);
}

function goOn() {
  frozen = undefined;
  charts.paused = false;
  freezeButton.setAttribute("aria-pressed", "false");
  show(freezeButton, "Freeze and download");
  update(feed.board !== undefined);
}

function sayFrozen(outcome) {
  const text = `Frozen: figures and charts do not change until you resume. ${outcome}`;
  showNotices([{ level: "info", text }]);
}

/** Saves board and history as one file of JSON; says how it went. */
async function download({ board, text }) {
  let history = [];
  let outcome = "";
  try {
    const response = await fetch("/history", { cache: "no-store", signal: AbortSignal.timeout(5_000) });
    if (!response.ok) throw new Error(`status ${response.status}`);
    // What has come since is not what is seen.
    history = (await response.json()).filter((point) => point.at_ms <= board.at_ms);
  } catch (error) {
    outcome = ` without the history, which could not be read (${error.message})`;
  }
  const name = `load-test-${new Date(board.at_ms).toISOString().replaceAll(":", "-")}.json`;
  // The board goes in as it came, to the last digit.
  save(name, `{"board":${text},"history":${JSON.stringify(history)}}\n`);
  return `Saved as ${name}${outcome}.`;
}

function save(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = name;
  link.click();
  // Not at once: the browser has yet to read it.
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
