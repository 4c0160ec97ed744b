// All invocations that the scheduler remembers, those that run first.

import { everyFrame, h, keyed, put, say } from "../dom.js";
import * as format from "../format.js";
import { elapsed, fleet, LIVE, rateOf, watch } from "../store.js";

const SHOWN = 200;
let filter = "";
/** Whether bars are to be as long as they are by now. */
let grown = false;

export function show(main) {
  const search = h("input", { type: "search", placeholder: "Search: pipeline, model, board, state", "aria-label": "Search invocations", value: filter, oninput: () => {
    filter = search.value;
    paint();
  } });
  const body = h("tbody");
  const empty = h("div", { class: "empty", hidden: true }, h("p", { class: "note" }, "Nothing has run yet."), h("p", {}, h("a", { href: "#/chat" }, "Ask something"), ", or in a terminal: ", h("code", {}, "dunlin invoke")));
  const table = h("table", { class: "runs" }, h("thead", {}, h("tr", {},
    h("th", {}, "Invocation"), h("th", {}, "State"), h("th", {}, "Board"), h("th", { class: "wide" }, "Time"), h("th", { class: "num" }, "Total"), h("th", { class: "num" }, "TTFT"), h("th", { class: "num" }, "Tokens"), h("th", { class: "num" }, "tok/s"), h("th", { class: "num" }, "Energy"), h("th", { class: "num wide" }, "Policy"), h("th", { class: "num wide" }, "Submitted"))), body);
  put(main, h("div", { class: "head" }, h("h1", {}, "Invocations"), h("div", { class: "tools" }, search)), h("div", { class: "sheet scroll" }, table, empty), h("p", { class: "key" }, key()));

  const rows = keyed(body, makeRow, changeRow);
  const paint = everyFrame(() => {
    const items = chosen();
    rows(items.map((invocation) => [invocation.id, invocation]));
    empty.hidden = items.length > 0;
    table.hidden = items.length === 0;
    grown = false;
  });
  // What runs grows older without an event: now and then is enough for that.
  const timer = setInterval(() => {
    grown = true;
    paint();
  }, 500);
  const stop = watch(["invocations"], paint);
  paint();
  return () => {
    stop();
    clearInterval(timer);
  };
}

export function key() {
  return [["queue", "queue"], ["load", "load"], ["prefill", "prefill"], ["decode", "decode"]].map(([name, text]) => h("span", {}, h("i", { class: name }), text));
}

function chosen() {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  const text = (of) => [of.id, of.pipeline, of.model, of.policy, of.state, ...of.attempts.map(({ node }) => node)].join(" ").toLowerCase();
  return [...fleet.invocations.values()]
    .filter((invocation) => words.every((word) => text(invocation).includes(word)))
    .sort((a, b) => LIVE.has(b.state) - LIVE.has(a.state) || b.submitted_unix_ms - a.submitted_unix_ms)
    .slice(0, SHOWN);
}

function makeRow(invocation) {
  const cell = (name = "") => h("td", { class: name });
  const cells = { id: cell("what"), state: cell(), where: cell("where"), time: cell("wide"), total: cell("num total"), ttft: cell("num ttft"), tokens: cell("num tokens"), rate: cell("num rate"), joules: cell("num joules"), policy: cell("num wide"), began: cell("num wide faint") };
  const open = () => (location.hash = `#/invocation/${encodeURIComponent(invocation.id)}`);
  cells.id.append(h("a", { href: `#/invocation/${encodeURIComponent(invocation.id)}` }, format.line(invocation.pipeline, 30)), h("span", { class: "faint small" }, ` ${format.line(invocation.model, 30)}`));
  const element = h("tr", { data: { open: "yes" }, onclick: (event) => event.target.closest("a") || open() }, Object.values(cells));
  return { element, cells, drawn: null, bars: [] };
}

function changeRow(row, invocation) {
  if (row.drawn === invocation && !(grown && LIVE.has(invocation.state))) return;
  const isSame = row.drawn === invocation;
  row.drawn = invocation;
  const { cells } = row;
  if (!isSame) changeCells(cells, invocation);
  say(cells.total, format.ms(elapsed(invocation)));
  paintPhases(row, invocation);
}

function changeCells(cells, invocation) {
  say(cells.state, invocation.state);
  cells.state.className = `state state-${String(invocation.state).replace(/\W/g, "")}`;
  say(cells.where, invocation.attempts.map(({ node }) => format.line(node, 24)).join(" → ") || "–");
  say(cells.ttft, format.ms(invocation.first_token_ms));
  say(cells.tokens, format.count(invocation.tokens));
  const rate = rateOf(invocation);
  say(cells.rate, rate === null ? "–" : format.rate(rate, "").trim());
  const joules = joulesOf(invocation.usage);
  say(cells.joules, joules === null ? "–" : format.joules(joules));
  cells.joules.title = invocation.usage?.emulated ? "emulated" : "";
  say(cells.policy, format.line(invocation.policy, 20));
  say(cells.began, format.clock(invocation.submitted_unix_ms));
}

/** The same elements for as long as the phases are the same. */
function paintPhases(row, invocation) {
  const parts = phases(invocation);
  if (row.bars.length !== parts.length || parts.some(({ name }, index) => row.bars[index].className !== name)) {
    row.bars = parts.map(({ name }) => h("i", { class: name }));
    row.picture = h("span", { class: "phases", role: "img" }, row.bars);
    put(row.cells.time, row.picture);
  }
  parts.forEach(({ ms }, index) => row.bars[index].style.setProperty("--size", String(Math.max(1, Math.round(ms)))));
  row.picture?.setAttribute("aria-label", parts.map(({ name, ms }) => `${name} ${format.ms(ms)}`).join(", "));
}

export function joulesOf(usage) {
  return usage?.energy?.total_joules ?? null;
}

/** What its time went to so far; of attempts that were lost, only that they were. */
export function phases(invocation) {
  const now = elapsed(invocation);
  const first = invocation.first_token_ms;
  const placed = invocation.attempts[0]?.after_ms ?? null;
  const usage = invocation.usage;
  const queue = Math.min(now, placed ?? now);
  const until = first ?? now;
  const load = Math.min(Math.max(0, until - queue), usage?.load_ms ?? 0);
  const parts = [{ name: "queue", ms: queue }, { name: "load", ms: load }, { name: "prefill", ms: Math.max(0, until - queue - load) }, { name: "decode", ms: first === null || first === undefined ? 0 : Math.max(0, now - first) }];
  return parts.filter(({ ms }) => ms > 0);
}
