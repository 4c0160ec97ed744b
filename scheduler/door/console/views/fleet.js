// The map: a tile for each board, where it stays while it comes and goes.

import { everyFrame, h, keyed, put, say, svg } from "../dom.js";
import * as format from "../format.js";
import { fleet, LIVE, modelColour, modelName, rateOf, watch } from "../store.js";
import { openBoard } from "./board.js";
import { restText, setSign, sign, signs } from "./plan.js";

/** With more boards than this, tiles are small. */
const LARGE = 60;
/** Invocations that are shown beside the map. */
const RUNNING = 8;
const ORDERS = { name: "name", load: "load", power: "power", heat: "heat", class: "class" };

/** Made once: to compare by a new one each time takes most of a frame. */
const { compare } = new Intl.Collator("en", { numeric: true });

let order = "name";
let filter = "";

export function show(main) {
  const search = h("input", { type: "search", placeholder: "Search: name, class, model, state", "aria-label": "Search boards", value: filter, oninput: () => {
    filter = search.value;
    paint();
  } });
  const by = h("select", { "aria-label": "Order", onchange: () => {
    order = by.value;
    paint();
  } }, Object.entries(ORDERS).map(([key, text]) => h("option", { value: key }, `by ${text}`)));
  by.value = order;
  const count = h("span", { class: "note" });
  const map = h("div", { class: "map", role: "group", "aria-label": "Boards", onkeydown: (event) => move(event, map) });
  const legend = h("p", { class: "legend small" });
  const log = h("ol", { class: "log", "aria-label": "Events" });
  const live = h("ol", { class: "log", "aria-label": "Running" });
  const idle = h("p", { class: "note small" });
  const empty = h("div", { class: "empty", hidden: true });
  put(main,
    h("div", { class: "head" }, h("h1", {}, "Fleet"), count, h("div", { class: "tools" }, search, by)),
    h("div", { class: "shore" },
      h("div", {}, map, empty, legend),
      h("aside", {}, h("h2", {}, "Running"), live, idle, h("h2", {}, "Events"), log)));

  const tiles = keyed(map, makeTile, changeTile);
  const paint = everyFrame(() => {
    const boards = chosen();
    map.classList.toggle("many", fleet.nodes.size > LARGE);
    tiles(boards.map((node) => [node.name, node]));
    if (map.firstChild && !map.querySelector('[tabindex="0"]')) map.firstChild.tabIndex = 0;
    say(count, boards.length === fleet.nodes.size ? "" : `${boards.length} of ${fleet.nodes.size}`);
    paintEmpty(empty, boards);
    paintLegend(legend);
  });
  const paintLog = everyFrame(() => notes(log));
  const rows = keyed(live, makeRun, changeRun);
  const paintLive = everyFrame(() => {
    const running = [...fleet.invocations.values()].filter(({ state }) => LIVE.has(state));
    rows(running.slice(-RUNNING).reverse().map((invocation) => [invocation.id, invocation]));
    live.hidden = running.length === 0;
    say(idle, running.length === 0 ? "Nothing runs." : running.length > RUNNING ? `and ${running.length - RUNNING} more` : "");
  });
  const stops = [watch(["nodes", "models"], paint), watch(["happenings"], paintLog), watch(["invocations"], paintLive)];
  paint();
  paintLog();
  paintLive();
  return () => stops.forEach((stop) => stop());
}

function chosen() {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  const boards = [...fleet.nodes.values()].filter((node) => words.every((word) => described(node).includes(word)));
  const by = {
    name: () => 0,
    load: (a, b) => b.running - a.running,
    power: (a, b) => (b.watts ?? -1) - (a.watts ?? -1),
    heat: (a, b) => (b.health.temperature_c ?? -999) - (a.health.temperature_c ?? -999),
    class: (a, b) => compare(a.class, b.class),
  }[order];
  return boards.sort((a, b) => by(a, b) || compare(a.name, b.name));
}

function described(node) {
  const labels = Object.entries(node.labels).map(([name, value]) => `${name}=${value}`);
  return [node.name, node.class, node.state, node.emulated ? "emulated" : "real", node.mode, node.rest ? `${restText(node)} rest` : "", node.plan?.wish, ...labels, ...node.residents.map(({ model }) => modelName(model))].join(" ").toLowerCase();
}

function makeTile(node) {
  const part = (name, tag = "span") => h(tag, { class: name });
  const parts = { name: part("name", "b"), work: part("work"), kind: part("kind"), memory: part("memory"), watts: part("watts"), heat: part("heat"), battery: part("battery"), free: part("free"), spark: svg("polyline", { class: "spark" }), sign: sign(null) };
  const picture = svg("svg", { class: "trace", viewBox: "0 0 60 16", preserveAspectRatio: "none", "aria-hidden": "true" }, parts.spark);
  const element = h("button", { type: "button", class: "tile", tabindex: "-1", onclick: () => openBoard(node.name), onfocus: () => {
    element.parentElement?.querySelectorAll('[tabindex="0"]').forEach((other) => (other.tabIndex = -1));
    element.tabIndex = 0;
  } }, h("span", { class: "first" }, parts.sign, parts.name, parts.work), parts.kind, parts.memory, picture, h("span", { class: "last" }, parts.watts, parts.heat, parts.battery, parts.free));
  return { element, parts, drawn: null, residents: "" };
}

function changeTile(row, node) {
  if (row.drawn === node && !row.stale) return;
  row.drawn = node;
  const { parts, element } = row;
  const { health } = node;
  setSign(parts.sign, node.rest);
  say(parts.name, format.line(node.name, 40));
  parts.name.title = node.name;
  say(parts.kind, node.gone ? `${stateText(node)} since ${format.clock(node.changed ?? Date.now())}` : kindText(node));
  say(parts.work, node.gone ? "" : node.running > 0 ? `${node.running}` : "");
  parts.work.title = `${node.running} running`;
  say(parts.watts, node.gone ? "" : node.rest === "off" ? "off" : node.rest === "wakes" && node.watts === null ? "–" : node.watts === null ? "no meter" : format.watts(node.watts));
  parts.watts.classList.toggle("none", node.watts === null);
  say(parts.heat, node.gone || health.temperature_c === null || health.temperature_c === undefined ? "" : format.celsius(health.temperature_c));
  parts.heat.className = `heat ${{ warm: "warm", throttled: "bad" }[health.thermal] ?? ""}`;
  say(parts.battery, node.gone || health.battery_percent === null || health.battery_percent === undefined ? "" : `${health.on_battery ? "▽" : "△"} ${health.battery_percent} %`);
  parts.battery.className = `battery ${health.on_battery && health.battery_percent < 20 ? "bad" : ""}`;
  say(parts.free, node.gone || node.rest === "off" ? "" : `${format.bytes(node.memory.free_bytes)} free`);
  element.dataset.state = node.gone ? "gone" : node.state;
  element.dataset.rest = node.rest ?? "";
  element.dataset.busy = node.running > 0 ? "yes" : "no";
  element.classList.toggle("emulated", Boolean(node.emulated));
  element.setAttribute("aria-label", spoken(node));
  paintMemory(row, node);
  parts.spark.setAttribute("points", sparkline(node.trace));
}

/** What it is; where it rests or changes, that first. */
function kindText(node) {
  const emulated = node.emulated && "emulated";
  const parts = node.rest ? [restText(node), format.line(node.class, 24), emulated] : [format.line(node.class, 24), format.line(node.mode, 24), emulated, node.state === "ready" ? "" : node.state];
  return parts.filter(Boolean).join(" · ");
}

/** What is in memory, as parts of a bar. */
function paintMemory(row, node) {
  const all = node.memory.total_bytes || node.residents.reduce((sum, resident) => sum + resident.memory_bytes, 0) || 1;
  const key = node.residents.map((resident) => `${resident.model} ${resident.state} ${resident.memory_bytes} ${modelName(resident.model)}`).join();
  if (row.residents === key) return;
  row.residents = key;
  put(row.parts.memory, node.residents.map((resident) => h("i", {
    title: `${modelName(resident.model)}: ${resident.state}`,
    class: resident.state === "ready" ? "" : "loading",
    style: { "flex-basis": `${Math.min(100, Math.max(4, (resident.memory_bytes / all) * 100))}%`, "--of": modelColour(resident.model) },
  })));
}

export function sparkline(trace) {
  const known = trace.filter((value) => value !== null);
  if (known.length < 2) return "";
  const most = Math.max(...known) * 1.05 || 1;
  const least = Math.min(...known) * 0.8;
  return trace.map((value, index) => value === null ? null : `${60 - trace.length + index},${(15 - ((value - least) / (most - least || 1)) * 14).toFixed(1)}`).filter(Boolean).join(" ");
}

export function stateText(node) {
  return { suspected: "not connected", lost: "lost", denied: "denied", wedged: "does not report" }[node.state] ?? node.state;
}

function spoken(node) {
  const parts = [node.name, node.class, node.emulated ? "emulated" : "", restText(node) || stateText(node), `${node.running} running`];
  if (!node.gone && node.watts !== null) parts.push(format.watts(node.watts));
  return parts.filter(Boolean).join(", ");
}

/** Arrows go to the tile that is next in that direction. */
function move(event, map) {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  const from = event.target.closest(".tile");
  if (!step || !from) return;
  event.preventDefault();
  const tiles = [...map.children];
  const top = tiles[0].offsetTop;
  const columns = tiles.findIndex((tile) => tile.offsetTop !== top);
  const at = tiles.indexOf(from) + step[0] + step[1] * (columns < 0 ? tiles.length : columns);
  tiles[at]?.focus();
}

function paintEmpty(empty, boards) {
  empty.hidden = boards.length > 0;
  if (boards.length > 0) return;
  if (fleet.nodes.size > 0) put(empty, h("p", {}, "No board is like that."));
  else if (fleet.link.state !== "live") put(empty, h("p", { class: "note" }, "Waiting for the scheduler ..."));
  else put(empty, h("h2", {}, "No boards yet"), h("p", { class: "note" }, "A token lets one in: ", h("code", {}, "dunlin token new")), h("p", { class: "note" }, "and on the board: ", h("code", {}, "dunlin agent --join TOKEN --scheduler HOST")));
}

let legendKey = "";
function paintLegend(legend) {
  const digests = new Set();
  for (const node of fleet.nodes.values()) if (!node.gone) for (const { model } of node.residents) digests.add(model);
  const names = new Map([...digests].map((digest) => [modelName(digest), modelColour(digest)]));
  const boards = [...fleet.nodes.values()];
  const key = JSON.stringify([[...names], boards.some((node) => node.emulated), [...new Set(boards.map(({ rest }) => rest))].sort()]);
  if (legend.childElementCount > 0 && key === legendKey) return;
  legendKey = key;
  put(legend, names.size > 0 && h("span", {}, "in memory:"), [...names].sort().slice(0, 12).map(([name, colour]) => h("span", {}, h("i", { style: { "--of": colour } }), format.line(name, 40))), signs(boards), boards.some((node) => node.emulated) && h("span", {}, h("i", { class: "dashed" }), "emulated: the board does not exist"));
}

function makeRun({ id }) {
  const what = h("a", { href: `#/invocation/${encodeURIComponent(id)}` });
  const where = h("span", { class: "faint" });
  const pace = h("span", { class: "num" });
  return { element: h("li", { class: "run" }, what, pace, where), what, where, pace };
}

function changeRun({ what, where, pace }, invocation) {
  const rate = rateOf(invocation);
  say(what, format.line(`${invocation.pipeline} ${invocation.model}`, 32));
  say(where, `${format.line(invocation.attempts.at(-1)?.node ?? "queued", 24)} · ${format.count(invocation.tokens)} tokens`);
  say(pace, rate === null ? "" : format.rate(rate, "tok/s"));
}

function notes(log) {
  put(log, fleet.happenings.slice(0, 30).map(({ at, kind, text, invocation }) => h("li", { class: kind }, h("time", {}, format.clock(at)), " ", invocation ? h("a", { href: `#/invocation/${encodeURIComponent(invocation)}` }, format.line(text, 120)) : format.line(text, 120))));
  if (fleet.happenings.length === 0) put(log, h("li", { class: "note" }, "Nothing out of the ordinary so far."));
}
