// The tables of the dashboard. Rows are kept from second to second, so that a selection in them,
// a screen reader's place and the bars' movement are kept too.

import {
  NOTHING, byId, bytes, cores, count, mark, percent, plural, rate, seconds, show, small,
} from "./shared.js";

/** Bots up to which each is shown without being asked for. */
const FEW_BOTS = 8;

/** Bots that are named with their reason while the table of all is closed. */
const LEFT_OUT_NAMED = 10;

// From which ratio of the largest to the smallest a column stands out.
const UNEVEN = 1.5;
const LOPSIDED = 3;

// --- rows ---

/** Makes `items` the rows of `body`: `head` says what is in the first cell, `cells` the others. */
function fill(body, items, head, cells) {
  while (body.rows.length > items.length) body.deleteRow(-1);
  items.forEach((item, n) => {
    const row = body.rows[n] ?? newRow(body);
    showCell(cellAt(row, 0, "th"), head(item));
    const contents = cells(item);
    contents.forEach((content, m) => showCell(cellAt(row, m + 1, "td"), content));
    while (row.cells.length > contents.length + 1) row.deleteCell(-1);
  });
}

function newRow(body) {
  const row = body.insertRow();
  // Told again, since a row that is laid out as a card is no row to some screen readers.
  row.setAttribute("role", "row");
  return row;
}

function cellAt(row, n, tag) {
  if (row.cells[n]) return row.cells[n];
  const cell = row.appendChild(document.createElement(tag));
  cell.setAttribute("role", tag === "th" ? "rowheader" : "cell");
  if (tag === "th") cell.scope = "row";
  cell.append(document.createElement("span"));
  return cell;
}

/** A content has `text`, and may have `column`, `number`, `share` (a bar), `note` and `level`. */
function showCell(cell, { text, column, number, share, note, level }) {
  show(cell.firstChild, text);
  cell.classList.toggle("number", Boolean(number));
  mark(cell, "column", column);
  mark(cell, "level", level);
  showPart(cell, "small", note, (part) => show(part, note));
  showPart(cell, ".bar", share, (part) => {
    part.firstChild.style.width = `${(100 * Math.min(1, share)).toFixed(1)}%`;
  });
}

/** A part of a cell that is there only when it has a value. */
function showPart(cell, selector, value, update) {
  let part = cell.querySelector(selector);
  if (value === undefined || value === null) {
    part?.remove();
    return;
  }
  if (!part) {
    part = document.createElement(selector === "small" ? "small" : "span");
    if (selector === ".bar") {
      part.className = "bar";
      part.setAttribute("aria-hidden", "true");
      part.append(document.createElement("span"));
    }
    cell.append(part);
  }
  update(part);
}

// --- pods ---

const COLUMNS = [
  { name: "Requests/s", of: (pod) => pod.requests_per_second, show: rate, judged: true },
  { name: "API CPU µs/request", of: (pod) => pod.api_cpu_us, show: small, judged: true },
  { name: "Replica CPU µs/request", of: (pod) => pod.redis_cpu_us, show: small, judged: true },
  { name: "API cores", of: (pod) => pod.api_cores, show: cores },
  { name: "Replica cores", of: (pod) => pod.redis_cores, show: cores },
  { name: "Connections", of: (pod) => pod.connections, show: count },
  { name: "Memory", of: (pod) => pod.memory_bytes, show: bytes },
];

export function showPods(pods) {
  const table = byId("pods");
  table.hidden = !pods?.length;
  if (!pods) {
    show(byId("pods-summary"), "not watched: the aggregator was not given their address (--api-admin-dns)");
    return;
  }
  const answering = pods.filter((pod) => !pod.trouble);
  const columns = COLUMNS.map((column) => ({ ...column, ...extremes(answering, column) }));
  fill(table.tBodies[0], pods, (pod) => ({ text: pod.address, note: pod.trouble }), (pod) => [
    ...columns.map((column) => podCell(pod, column)),
    usableCell(pod),
  ]);
  const compared = answering.length > 1 ? ["max ÷ min"] : [];
  fill(table.tFoot, compared, (text) => ({ text }), () => columns.map(ratioCell));
  show(byId("pods-summary"), podsSummary(pods, answering, columns[0]));
}

function extremes(pods, column) {
  const values = pods.map(column.of).filter((value) => typeof value === "number");
  const max = Math.max(0, ...values);
  const min = values.length > 0 ? Math.min(...values) : 0;
  return { max, ratio: values.length > 1 && max > 0 ? max / min : undefined };
}

function podCell(pod, column) {
  const value = pod.trouble ? undefined : column.of(pod);
  return {
    text: column.show(value),
    column: column.name,
    number: true,
    share: typeof value === "number" && column.max > 0 ? value / column.max : undefined,
  };
}

function usableCell(pod) {
  const usable = pod.usable && !pod.trouble;
  return { text: usable ? "✓ yes" : "✗ no", column: "Usable", level: usable ? undefined : "bad" };
}

// (Of a pod that has just started and gets a request now and then it may be in the thousands.)
const ratioText = (ratio) => (Number.isFinite(ratio) ? ratio.toFixed(ratio < 100 ? 2 : 0) : "∞");

function ratioCell({ name, ratio, judged }) {
  if (ratio === undefined) return { text: NOTHING, column: name, number: true };
  const level = ratio >= LOPSIDED ? "bad" : ratio >= UNEVEN ? "warn" : undefined;
  return { text: ratioText(ratio), column: name, number: true, level: judged ? level : undefined };
}

function podsSummary(pods, answering, { ratio }) {
  if (pods.length === 0) return "none found";
  const parts = [plural(pods.length, "pod")];
  if (answering.length < pods.length) parts.push(`${pods.length - answering.length} can't be read`);
  if (ratio === Infinity) parts.push("one of them gets no requests");
  else if (ratio !== undefined) parts.push(`the busiest gets ${ratioText(ratio)} × the requests of the least busy`);
  return parts.join(" · ");
}

// --- errors ---

export function showErrors(summary) {
  const kinds = Object.entries(summary.error_counts).sort(([, a], [, b]) => b - a);
  const most = kinds[0]?.[1] ?? 0;
  byId("errors").hidden = kinds.length === 0;
  fill(byId("errors").tBodies[0], kinds, ([kind]) => ({ text: kind }), ([, number]) => [
    { text: count(number), number: true, share: number / most },
    { text: percent(number / summary.requests), number: true },
  ]);
  const all = kinds.reduce((sum, [, number]) => sum + number, 0);
  const total = kinds.length > 0 ? count(all) : "none";
  const span = seconds(summary.window_seconds);
  show(byId("errors-summary"), summary.window_seconds > 0 ? `${total} in ${span}` : "no data");
}

// --- bots ---

const GRAVITY = { dead: 0, late: 1, alive: 2 };
const SYMBOLS = { dead: "✗ dead", late: "◷ late", alive: "✓ alive" };
const LEVELS = { dead: "bad", late: "warn" };

let asked = false;

export function showBots(bots) {
  for (const state of ["alive", "late", "dead"]) {
    show(byId(`bots-${state}`), count(bots.filter((bot) => bot.state === state).length));
  }
  const worst = bots.some((bot) => bot.state === "dead") ? "bad" : "warn";
  mark(byId("bots-tile"), "level", bots.some((bot) => bot.state !== "alive") && worst);
  show(byId("bots-summary"), bots.length > 0 ? plural(bots.length, "bot") : "none");
  const details = byId("bots-details");
  details.hidden = bots.length === 0;
  // Open by itself until somebody decides.
  if (!asked) details.open = bots.length <= FEW_BOTS;
  if (details.open) showEachBot(bots);
  showLeftOut(details.open ? [] : bots.filter((bot) => bot.state !== "alive"));
}

/** Names who is left out of the figures, and why. */
function showLeftOut(bots) {
  const lines = bots.slice(0, LEFT_OUT_NAMED).map((bot) => `${bot.address} is ${bot.state}: ${bot.trouble}`);
  const more = bots.length - lines.length;
  if (more > 0) lines.push(`and ${count(more)} more`);
  const list = byId("left-out");
  list.hidden = lines.length === 0;
  while (list.children.length > lines.length) list.lastElementChild.remove();
  lines.forEach((line, n) => {
    show(list.children[n] ?? list.appendChild(document.createElement("li")), line);
  });
}

function showEachBot(bots) {
  const sorted = [...bots].sort((a, b) => GRAVITY[a.state] - GRAVITY[b.state]);
  fill(byId("bots").tBodies[0], sorted, (bot) => ({ text: bot.address, note: bot.trouble }), (bot) => [
    { text: SYMBOLS[bot.state] ?? bot.state, level: LEVELS[bot.state] },
    rateCell(bot),
    { text: count(bot.restarts), number: true, level: bot.restarts > 0 ? "warn" : undefined },
  ]);
}

function rateCell(bot) {
  if (bot.state !== "alive") return { text: NOTHING, number: true };
  return {
    text: `${rate(bot.achieved_rate)} of ${rate(bot.target_rate)}`,
    number: true,
    share: bot.target_rate > 0 ? bot.achieved_rate / bot.target_rate : undefined,
    note: bot.workers_capped ? "all its workers were busy" : undefined,
  };
}

/** Has the table of bots filled as soon as somebody opens it. */
export function watchBots(again) {
  const details = byId("bots-details");
  details.querySelector("summary").addEventListener("click", () => { asked = true; });
  details.addEventListener("toggle", again);
}
