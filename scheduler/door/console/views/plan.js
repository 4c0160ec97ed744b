// What the scheduler means for a board over minutes: the mode that it should be in, its rest, and what an operator does about it.

import { send } from "../api.js";
import { h, put, renew, say, svg } from "../dom.js";
import * as format from "../format.js";
import { fleet } from "../store.js";

/** A shape for each, so that nobody needs the colour. */
const SIGNS = {
  rests: "M11 2A6.3 6.3 0 1 0 14 10.6 5.4 5.4 0 0 1 11 2z",
  off: "M8 2v6M4.7 4.3a5 5 0 1 0 6.6 0",
  goes: "M8 2v8M4.5 6.8 8 10.3l3.5-3.5M3 13.5h10",
  wakes: "M8 10V2M4.5 5.2 8 1.7l3.5 3.5M3 13.5h10",
  changes: "M2.5 5.5h10L10 3M13.5 10.5h-10L6 13",
};
const LEGEND = { rests: "rests until it is needed", off: "off until it is needed", goes: "goes to rest", wakes: "wakes", changes: "changes its mode" };
const LEVELS = { "": "as its plan says, else unloaded", unload: "unloaded: no model in memory", "low-mode": "in its lowest mode", off: "off, by your command" };

export function sign(rest) {
  const path = svg("path");
  const element = svg("svg", { class: "sign", viewBox: "0 0 16 16", "aria-hidden": "true" }, path);
  setSign(element, rest);
  return element;
}

export function setSign(element, rest) {
  if (element.dataset.rest === (rest ?? "")) return;
  element.dataset.rest = rest ?? "";
  element.firstChild.setAttribute("d", SIGNS[rest] ?? "");
  element.toggleAttribute("hidden", !rest);
}

/** What is on the map now, and what it means. */
export const signs = (nodes) => Object.entries(LEGEND).filter(([rest]) => nodes.some((node) => node.rest === rest)).map(([rest, text]) => h("span", {}, sign(rest), text));

/** In a few words; empty where a board just works. */
export function restText(node) {
  const mode = format.line(node.mode, 20);
  const { parked, changes_to: to } = node.plan ?? {};
  switch (node.rest) {
    case "off": return `off since ${format.when(parked.unix_seconds)}`;
    case "rests": return `rests${mode ? ` in ${mode}` : ""}`;
    case "goes": return "goes to rest";
    case "wakes": return `wakes, takes ${format.span(parked?.wake_ms)}`;
    case "changes": return `${mode} → ${format.line(to, 20)}`;
    default: return "";
  }
}

/** The part of a board's page, which is made once and then painted. */
export function planPart(name) {
  const words = h("div");
  const modes = h("div");
  const controls = operate(name);
  return {
    element: h("section", { class: "plan" }, h("h2", {}, "Plan"), words, controls.element, modes),
    paint(node) {
      const { plan, rest, mode } = node;
      renew(words, [plan && { ...plan, modes: null, requests_per_hour: hourly(plan) }, rest, mode], () => wordsOf(node));
      renew(modes, [plan?.modes, plan?.wish, mode], () => (plan?.modes.length > 0 ? modesTable(plan, mode) : []));
      controls.paint(node);
    },
  };
}

const hourly = (plan) => (plan.requests_per_hour > 0 ? format.rate(plan.requests_per_hour, "requests an hour") : null);

function wordsOf({ plan, rest, mode }) {
  if (!plan) return [h("p", { class: "hush" }, "Nothing is planned of this board."), h("p", { class: "small note" }, h("code", {}, "dunlin scheduler --plan FILE"), " has boards change their modes, and rest, by themselves.")];
  const saves = savesText(plan.saves);
  const asked = hourly(plan);
  const rows = [
    plan.wish && ["wish", h("span", {}, format.line(plan.wish, 30), h("small", { class: "note" }, ` since ${format.when(plan.wished_unix_seconds)}`))],
    saves && ["would save", saves],
    plan.due_unix_seconds && ["not before", format.when(plan.due_unix_seconds)],
    asked && ["asked for", asked],
  ].filter(Boolean);
  const told = restSentence(plan, rest, mode);
  return [
    told && h("p", { class: "told calm", role: "status" }, sign(rest), told),
    plan.failure && h("p", { class: "told mild" }, sentence(plan.failure), plan.barred_unix_seconds ? ` It is not tried again before ${format.when(plan.barred_unix_seconds)}.` : ""),
    rows.length > 0 && h("dl", { class: "facts" }, rows.map(([term, value]) => h("div", {}, h("dt", {}, term), h("dd", {}, value)))),
    plan.says && h("p", { class: "small note" }, sentence(plan.says)),
    !told && !plan.failure && !plan.wish && h("p", { class: "hush" }, "It is in the mode that it should be in, and awake."),
  ];
}

function sentence(text) {
  const line = format.line(text, 500);
  return /[.!?]$/.test(line) ? line : `${line}.`;
}

/** What rests on assumed figures is about so much. */
function savesText(saves) {
  if (!saves) return null;
  const about = saves.assumed ? "~" : "";
  const part = `${about}${Math.round(saves.part * 100)} % of ${format.line(saves.of, 30)}`;
  if (saves.watts_now === null || saves.watts_then === null || saves.watts_now <= saves.watts_then) return part;
  const title = `${about}${format.watts(saves.watts_now)} now, ${about}${format.watts(saves.watts_then)} then${saves.assumed ? "; assumed" : ""}`;
  return h("span", { title }, `${about}${format.watts(saves.watts_now - saves.watts_then)}`, h("small", { class: "note" }, ` ${part}`));
}

function restSentence({ parked, changes_to: to }, rest, mode) {
  const since = format.when(parked?.unix_seconds);
  const back = format.span(parked?.wake_ms);
  const now = format.line(mode, 30);
  return {
    off: `Off since ${since}. It is back within ${back} when it is needed, or when you wake it.`,
    rests: `At rest in ${now} since ${since}: it takes no work. It is back within ${back} when it is needed, or when you wake it.`,
    goes: "On its way to rest: what runs here ends first, or goes on elsewhere.",
    wakes: `On its way back, which takes about ${back}.`,
    changes: `On its way from ${now} to ${format.line(to, 30)}: what runs here ends first, then it takes work again.`,
  }[rest];
}

function modesTable({ modes, wish }, now) {
  const number = ["Draws", "At work", "Request", "Of targets"].map((text) => h("th", { class: "num" }, text));
  const percent = (part) => (part === null || part === undefined ? "–" : `${Math.round(part * 100)} %`);
  const mark = (of) => [of.mode === now && "now", of.mode === wish && "wished", !of.suffices && "too slow"].filter(Boolean).join(", ");
  const rows = modes.map((of) => h("tr", { class: of.mode === now ? "chosen" : "" },
    h("td", {}, format.line(of.mode, 24), h("small", { class: "note" }, mark(of))),
    [of.watts === null ? "–" : `${of.watts_assumed ? "~" : ""}${format.watts(of.watts)}`, percent(of.at_work), format.ms(of.request_ms), percent(of.of_targets)].map((text) => h("td", { class: "num" }, text))));
  return [h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "Mode"), number)), h("tbody", {}, rows))),
    modes.some((of) => of.watts_assumed) && h("p", { class: "small note" }, "~ rests on assumed watts, which nobody measured here.")];
}

/** Park and wake: the answer comes once the board is there, and the board says how far it is meanwhile. */
function operate(name) {
  const level = h("select", { "aria-label": "How deep it rests" }, Object.entries(LEVELS).map(([value, text]) => h("option", { value }, text)));
  const park = h("button", { type: "submit" }, "Park");
  const wake = h("button", { type: "button", class: "main", onclick: () => order("wake", {}) }, "Wake");
  const said = h("span", { class: "note", role: "status" });
  const wrong = h("p", { class: "told", role: "alert", hidden: true });
  const form = h("form", { class: "operate", onsubmit: (event) => {
    event.preventDefault();
    order("park", level.value ? { level: level.value } : {});
  } }, level, park, wake, said);
  let pending = null;
  let busy = false;

  async function order(what, body) {
    if (busy) return;
    pending = what === "wake" ? "wakes …" : "goes to rest …";
    wrong.hidden = true;
    paint(fleet.nodes.get(name));
    let outcome = "";
    try {
      const node = await send("POST", `/v1/fleet/nodes/${encodeURIComponent(name)}/${what}`, body);
      if (what === "park" && !node.plan?.parked) outcome = "Its models have left its memory.";
    } catch (error) {
      wrong.hidden = false;
      say(wrong, sentence(error.message));
    }
    pending = null;
    say(said, outcome);
    paint(fleet.nodes.get(name));
  }

  function paint(node) {
    form.hidden = !node || node.gone;
    if (!node) return;
    const rests = node.rest === "rests" || node.rest === "off";
    busy = pending !== null || ["goes", "wakes", "changes"].includes(node.rest);
    if (pending) say(said, pending);
    const from = document.activeElement;
    [level.hidden, park.hidden, wake.hidden] = [rests, rests, !rests];
    // Not disabled: what is, loses the focus of whoever came by keyboard.
    for (const button of [park, wake]) button.setAttribute("aria-disabled", String(busy));
    if ((from === park || from === level) && rests) wake.focus();
    if (from === wake && !rests) park.focus();
  }

  return { element: h("div", {}, form, wrong), paint };
}
