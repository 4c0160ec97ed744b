// The life of an invocation as a picture: a row for each attempt, time to the right.

import { svg } from "../dom.js";
import * as format from "../format.js";
import { elapsed, LIVE } from "../store.js";

/** On a phone as wide as that is, so that its letters are as large as others. */
const [WIDTH, LEFT] = matchMedia("(max-width: 780px)").matches ? [420, 92] : [1000, 130];
const ROW = 40;
const TOP = 12;

export function timeline(invocation, explanation) {
  const attempts = invocation.attempts.length > 0 ? invocation.attempts : [null];
  const now = Math.max(1, elapsed(invocation));
  const expected = attempts.map((attempt) => (attempt ? expectation(attempt, explanation) : null));
  const span = nice(Math.max(now, ...expected.map((of) => Math.min(of?.end ?? 0, now * 1.6))));
  const x = (ms) => LEFT + (Math.min(ms, span) / span) * (WIDTH - LEFT - 10);
  const height = TOP + attempts.length * ROW + 24;
  const rows = attempts.map((attempt, index) => row(invocation, attempts, index, expected[index], x, now));
  return svg("svg", { class: "timeline", viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": spoken(invocation, now) }, axis(span, x, height), rows);
}

/** Of an attempt, from and until when: in milliseconds since the submission. */
function row(invocation, attempts, index, expected, x, now) {
  const attempt = attempts[index];
  const y = TOP + index * ROW;
  const began = attempt?.after_ms ?? 0;
  const last = index === attempts.length - 1;
  const ended = last ? now : attempts[index + 1].after_ms ?? now;
  const bars = [];
  const bar = (name, from, to, text) => to > from && bars.push(svg("rect", { class: `bar ${name}`, x: x(from), y: y + 8, width: Math.max(1, x(to) - x(from)), height: 15, rx: 2 }, svg("title", {}, `${text}: ${format.ms(to - from)}`)));
  if (index === 0) bar("queue", 0, attempt ? began : now, "queue");
  if (!attempt) return [label(y, "no board yet"), bars];
  const first = invocation.first_token_ms;
  if (!last && (first === null || first === undefined || first > ended)) bars.push(lost(x(began), x(ended), y));
  else {
    const usage = last ? invocation.usage : null;
    const start = Math.max(began, Math.min(first ?? ended, ended));
    const read = index === 0 || first >= began ? start : usage?.ttft_ms ? Math.min(ended, began + usage.ttft_ms) : began;
    const load = Math.min(read - began, usage?.load_ms ?? 0);
    bar("load", began, began + load, "load");
    bar("prefill", began + load, read, "prefill");
    bar("decode", read, ended, "decode");
    if (!last) bars.push(svg("path", { class: "bar lost", d: `M${x(ended) - 4} ${y + 11} l8 9 m0 -9 l-8 9` }, svg("title", {}, "the board was lost")));
  }
  const marks = expected ? [mark(x(expected.first), y, "predicted TTFT"), mark(x(expected.end), y, "predicted end")] : [];
  return [label(y, format.line(attempt.node, LEFT < 100 ? 12 : 18)), bars, marks];
}

function expectation(attempt, explanation) {
  const number = attempt.number;
  const decision = explanation?.decisions?.find((of) => of.attempt === number);
  const predicted = attempt.predicted ?? decision?.candidates.find(({ chosen }) => chosen)?.predicted;
  if (!predicted || attempt.after_ms === null || attempt.after_ms === undefined) return null;
  return { first: attempt.after_ms + predicted.ttft_ms, end: attempt.after_ms + predicted.total_ms };
}

const label = (y, text) => svg("text", { class: "said", x: LEFT - 12, y: y + 20, "text-anchor": "end" }, text);
const lost = (from, to, y) => svg("rect", { class: "lost", x: from, y: y + 8, width: Math.max(2, to - from), height: 15, rx: 2 }, svg("title", {}, "lost before its first token"));
const mark = (x, y, text) => svg("path", { class: "expected", d: `M${x - 4} ${y + 1} h8 l-4 6 z` }, svg("title", {}, text));

function axis(span, x, height) {
  const parts = WIDTH < 500 ? 3 : 5;
  const step = span / parts;
  return Array.from({ length: parts + 1 }, (_, index) => {
    const at = index * step;
    return [svg("line", { class: "axis", x1: x(at), x2: x(at), y1: 4, y2: height - 18 }), svg("text", { x: x(at), y: height - 4, "text-anchor": index === parts ? "end" : "middle" }, at === 0 ? "0" : format.ms(at))];
  });
}

/** A little more than it takes, and a round figure. */
export function nice(value) {
  const size = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].map((of) => of * size).find((of) => of >= value * 0.999) ?? value;
}

function spoken(invocation, now) {
  const state = LIVE.has(invocation.state) ? "so far" : invocation.state;
  return `${format.ms(now)} ${state}; first token after ${format.ms(invocation.first_token_ms)}; on ${invocation.attempts.map(({ node }) => node).join(", then ") || "no board yet"}`;
}
