// The currency page: the value, and how it came to be.

import {
  Charts, Feed, NOTHING, byId, clock, feedTrouble, mark, show, showNotices, showStatus, valueAge,
} from "./shared.js";
import { Stream } from "./stream.js";

const charts = new Charts();
const stream = new Stream(() => update(false));
const feed = new Feed(update);
update(false);
byId("by-stream").addEventListener("change", choose);
byId("by-aggregator").addEventListener("change", choose);

function choose() {
  const url = byId("by-stream").checked ? feed.board?.stream : undefined;
  if (url) stream.open(url);
  else stream.close();
  update(false);
}

function update(fresh) {
  showStatus(feed);
  const trouble = feedTrouble(feed) ?? streamTrouble() ?? valueTrouble(feed.board);
  showNotices(trouble ? [trouble] : []);
  byId("choice").hidden = !feed.board?.stream;
  if (feed.board) showValue(feed.board);
  if (!fresh) return;
  charts.refresh(feed.board.at_ms);
}

function streamTrouble() {
  if (!stream.trouble) return undefined;
  return { level: "bad", text: `The API's stream: ${stream.trouble.replace(/\.$/, "")}.` };
}

function valueTrouble(board) {
  if (!board || stream.isOpen) return undefined;
  if (!board.current) {
    return { level: "warn", text: "No value: the aggregator was not given the address of the API (--api-url)." };
  }
  const { trouble, value } = board.current;
  if (!trouble) return undefined;
  const old = value === null ? "" : " The last known value is shown below.";
  return { level: "bad", text: `The value can't be read: ${trouble.replace(/\.$/, "")}.${old}` };
}

function showValue(board) {
  const text = String((stream.isOpen ? stream.value : board.current?.value) ?? NOTHING);
  const element = byId("value");
  show(element, text);
  // As large as the page is wide, however long it is, in steps: digits that come and go must not
  // make it jump.
  element.style.setProperty("--characters", String(2 * Math.ceil(Math.max(6, text.length) / 2)));
  mark(element, "old", Boolean(stream.isOpen ? stream.trouble : board.current?.trouble));
  show(byId("value-age"), age(board));
}

function age(board) {
  if (stream.isOpen) return stream.since ? `changed at ${clock(stream.since)}` : NOTHING;
  return board.current ? valueAge(board) : NOTHING;
}
