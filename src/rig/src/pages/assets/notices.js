// What is wrong with the load test, in plain words. No figures that change each second: a screen
// reader would say them each second.

import { count, plural } from "./shared.js";

const bad = (text) => ({ level: "bad", text });
const warn = (text) => ({ level: "warn", text });

/** All that a board has to complain about, worst first; each `{level, text}`. */
export function complaints(board) {
  const seen = [botTrouble(board.bots), apiTrouble(board.summary), valueTrouble(board.current)];
  // Names that can't be looked up: what is found by them may be out of date.
  return [...seen.filter((notice) => notice !== undefined), ...(board.troubles ?? []).map(warn)];
}

function botTrouble(bots) {
  const inState = (state) => bots.filter((bot) => bot.state === state).length;
  const [alive, late, dead] = ["alive", "late", "dead"].map(inState);
  if (bots.length === 0) return bad("No load bots found: no requests are being sent.");
  if (late === bots.length) {
    return bad(`${allOf(late)} late: none answered the aggregator in time, so there are no figures.`);
  }
  if (alive === 0) return bad(`No bot answers in time: ${late} late, ${dead} dead. There are no figures.`);
  if (late + dead === 0) return undefined;
  return warn(`${late + dead} of ${plural(bots.length, "bot")} left out: ${late} late, ${dead} dead.`);
}

const allOf = (number) => (number === 1 ? "The only bot is" : `All ${count(number)} bots are`);

function apiTrouble(summary) {
  if (!(summary.requests > 0) || summary.success > 0) return undefined;
  const answered = Object.keys(summary.status_codes).some((code) => code !== "0");
  return answered
    ? bad("The API returns only errors: no request succeeded.")
    : bad("The API does not respond: no request got a response.");
}

function valueTrouble(current) {
  return current?.trouble ? warn(`The value can't be read: ${current.trouble}`) : undefined;
}

/** What the banner says when the generator was the limit: a title and reasons, or nothing. */
export function generatorBanner(summary) {
  if (summary.generator_limits.length === 0) return undefined;
  return {
    title: "The load generator was the limit: these latencies are not valid.",
    reasons: summary.generator_limits,
  };
}
