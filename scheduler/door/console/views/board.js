// One board, in a drawer over the map. Its parts are made once, so that focus, scroll and selection stay while figures change.

import { everyFrame, h, keyed, put, renew, say, svg } from "../dom.js";
import * as format from "../format.js";
import { fleet, LIVE, modelColour, modelName, watch } from "../store.js";
import { sparkline, stateText } from "./fleet.js";
import { planPart, restText } from "./plan.js";

const drawer = document.getElementById("drawer");
/** What is behind the drawer is out of reach while it is open. */
const behind = [".top", "#pulse", "#main"].map((selector) => document.querySelector(selector));
let close = null;

export function openBoard(name) {
  close?.();
  const from = document.activeElement;
  const page = boardPage(name);
  const button = h("button", { class: "quiet close", type: "button", "aria-label": "Close", onclick: () => close() }, "×");
  put(drawer, h("div", { class: "card", role: "dialog", "aria-modal": "true", "aria-label": `Board ${name}`, onclick: (event) => event.stopPropagation() }, button, page.element));
  drawer.hidden = false;
  behind.forEach((element) => (element.inert = true));
  drawer.onclick = () => close();
  button.focus();
  const paint = everyFrame(() => page.paint(fleet.nodes.get(name)));
  const stop = watch(["nodes", "models", "invocations"], (topic, changed) => {
    if (topic !== "nodes" || !changed || changed === name) paint();
  });
  const escape = () => close();
  const away = () => close();
  addEventListener("dunlin-escape", escape);
  addEventListener("hashchange", away);
  page.paint(fleet.nodes.get(name));
  close = () => {
    stop();
    removeEventListener("dunlin-escape", escape);
    removeEventListener("hashchange", away);
    drawer.hidden = true;
    drawer.replaceChildren();
    behind.forEach((element) => (element.inert = false));
    close = null;
    if (from?.isConnected) from.focus();
  };
}

function boardPage(name) {
  const [head, figure, memory, idle] = [h("div"), h("div"), h("div"), h("p", { class: "hush" }, "Nothing.")];
  const list = h("dl", { class: "facts" });
  const running = h("ul", { class: "plain" });
  const plan = planPart(name);
  const rest = h("div", {}, figure, list, plan.element, h("h2", {}, "In memory"), memory, h("h2", {}, "Running here"), idle, running);
  const [facts, runs] = [keyed(list, makeFact, ({ value }, [, text]) => say(value, text)), keyed(running, makeRun, changeRun)];
  return {
    element: h("div", { class: "body" }, head, rest),
    paint(node) {
      rest.hidden = !node;
      renew(head, node ? [node.class, node.emulated, node.gone && [node.state, node.changed]] : null, () => heading(node, name));
      if (!node) return;
      put(figure, power(node));
      facts(factsOf(node).map((row, index) => [`${index} ${row[0]}`, row]));
      plan.paint(node);
      renew(memory, node.residents.map((resident) => [resident, modelName(resident.model)]), () => (node.residents.length === 0 ? h("p", { class: "hush" }, "Nothing.") : residents(node)));
      const live = here(node);
      runs(live.map((invocation) => [invocation.id, invocation]));
      idle.hidden = live.length > 0;
    },
  };
}

function heading(node, name) {
  if (!node) return [h("h1", {}, format.line(name, 60)), h("p", { class: "told" }, "This board is not in the fleet any more.")];
  return [
    h("h1", {}, format.line(name, 60)),
    h("p", { class: "note" }, [format.line(node.class, 60), node.emulated ? "emulated: it does not exist, and paces itself by a model of one" : null].filter(Boolean).join(" · ")),
    node.gone && h("p", { class: "told", role: "status" }, `${stateText(node)}, since ${format.clock(node.changed ?? Date.now())}. What it ran goes on elsewhere, where another board has the model.`),
  ];
}

function makeFact([name]) {
  const value = h("dd");
  return { element: h("div", {}, h("dt", {}, name), value), value };
}

function factsOf(node) {
  const { health } = node;
  // Of a board that is off nothing is known but what it is.
  const on = (text) => (node.rest === "off" ? "–" : text);
  return [
    ["state", node.rest === "changes" ? "changes its mode" : restText(node) || stateText(node)],
    ["mode", format.line(node.mode, 40) || "–"],
    ["power", on(format.watts(node.watts))],
    ["temperature", on(`${format.celsius(health.temperature_c)}${health.thermal && health.thermal !== "cool" ? `, ${health.thermal}` : ""}`)],
    ["battery", on(health.battery_percent === null || health.battery_percent === undefined ? "none" : `${health.battery_percent} %, ${health.on_battery ? "in use" : "on mains"}`)],
    ["memory", on(`${format.bytes(node.memory.free_bytes)} free of ${format.bytes(node.memory.total_bytes)}`)],
    ["running", `${format.count(node.running)} of ${format.count(node.slots)}`],
    ["on disk", `${node.models.length} ${node.models.length === 1 ? "model" : "models"}, ${format.bytes(node.disk_free_bytes)} free`],
    ["build", format.line(node.build ?? "", 40) || "–"],
    ...Object.entries(node.labels).map(([label, value]) => [format.line(label, 30), format.line(value, 60)]),
  ];
}

/** What it drew, as far as this page has seen it. */
function power(node) {
  const seen = node.trace.filter((watts) => watts !== null);
  if (seen.length < 2) return null;
  const range = `${format.watts(Math.min(...seen))} to ${format.watts(Math.max(...seen))}`;
  return h("figure", {}, svg("svg", { viewBox: "0 0 60 16", preserveAspectRatio: "none", role: "img", "aria-label": `Power of the last reports, ${range}` }, svg("polyline", { class: "spark", points: sparkline(node.trace) })),
    h("figcaption", {}, `Power, last ${seen.length} reports: ${range}`));
}

function residents(node) {
  return h("div", { class: "scroll" }, h("table", { class: "residents" }, h("thead", {}, h("tr", {}, h("th", {}, "Model"), h("th", {}, "State"), h("th", { class: "wide" }, "Operating point"), ["Running", "Memory", "KV"].map((text) => h("th", { class: "num" }, text)))),
    h("tbody", {}, node.residents.map((resident) => h("tr", {},
      h("td", {}, h("i", { class: "dot", style: { "--of": modelColour(resident.model) } }), format.line(modelName(resident.model), 40)),
      h("td", {}, resident.state),
      h("td", { class: "wide" }, pointText(resident.point)),
      h("td", { class: "num" }, `${resident.running}${resident.slots ? ` / ${resident.slots}` : ""}${resident.queued ? ` +${resident.queued}` : ""}`),
      h("td", { class: "num" }, format.bytes(resident.memory_bytes)),
      h("td", { class: "num" }, resident.cells ? `${Math.round(((resident.used_cells ?? 0) / resident.cells) * 100)} %` : "–"))))));
}

/** An operating point: mode, threads, and what of it is out of the ordinary. */
export function pointText(point) {
  if (typeof point === "string") return point;
  if (!point) return "–";
  const threads = point.prefill_threads ? `${point.prefill_threads}/${point.decode_threads}` : "";
  return [point.mode, threads, point.backend].filter(Boolean).join(" ") || "–";
}

function here(node) {
  return [...fleet.invocations.values()].filter((invocation) => LIVE.has(invocation.state) && invocation.attempts.at(-1)?.node === node.name);
}

function makeRun({ id, pipeline }) {
  const tokens = h("span");
  return { element: h("li", {}, h("a", { href: `#/invocation/${encodeURIComponent(id)}` }, `${format.line(pipeline, 30)} ${format.short(id)}`), tokens), tokens };
}

function changeRun({ tokens }, invocation) {
  say(tokens, ` ${format.count(invocation.tokens)} tokens`);
}
