// The currency page: the value, and how it came to be.

import { Charts, Feed, NOTHING, byId, feedTrouble, mark, show, showNotices, showStatus, valueAge } from "./shared.js";

const charts = new Charts();
const feed = new Feed(update);
update(false);

function update(fresh) {
  showStatus(feed);
  const trouble = feedTrouble(feed) ?? valueTrouble(feed.board);
  showNotices(trouble ? [trouble] : []);
  if (!fresh) return;
  showValue(feed.board);
  charts.refresh(feed.board.at_ms);
}

function valueTrouble(board) {
  if (!board) return undefined;
  if (!board.current) {
    return { level: "warn", text: "No value: the aggregator was not given the address of the API (--api-url)." };
  }
  const { trouble, value } = board.current;
  if (!trouble) return undefined;
  const old = value === null ? "" : " The last known value is shown below.";
  return { level: "bad", text: `The value can't be read: ${trouble.replace(/\.$/, "")}.${old}` };
}

function showValue(board) {
  const text = String(board.current?.value ?? NOTHING);
  const element = byId("value");
  show(element, text);
  // As large as the page is wide, however long it is, in steps: digits that come and go must not
  // make it jump.
  element.style.setProperty("--characters", String(2 * Math.ceil(Math.max(6, text.length) / 2)));
  mark(element, "old", Boolean(board.current?.trouble));
  show(byId("value-age"), board.current ? valueAge(board) : NOTHING);
}
