// One board, in a drawer over the map.

import { everyFrame, h, put, svg } from "../dom.js";
import * as format from "../format.js";
import { fleet, LIVE, modelColour, modelName, watch } from "../store.js";
import { sparkline, stateText } from "./fleet.js";

const drawer = document.getElementById("drawer");
let close = null;

export function openBoard(name) {
  close?.();
  const from = document.activeElement;
  const body = h("div", { class: "body" });
  const button = h("button", { class: "quiet close", type: "button", "aria-label": "Close", onclick: () => close() }, "×");
  put(drawer, h("div", { class: "card", role: "dialog", "aria-label": `Board ${name}`, onclick: (event) => event.stopPropagation() }, button, body));
  drawer.hidden = false;
  drawer.onclick = () => close();
  button.focus();
  const paint = everyFrame(() => paintBoard(body, fleet.nodes.get(name), name));
  const stop = watch(["nodes", "models", "invocations"], (topic, changed) => {
    if (topic !== "nodes" || !changed || changed === name) paint();
  });
  const escape = () => close();
  const away = () => close();
  addEventListener("dunlin-escape", escape);
  addEventListener("hashchange", away);
  paint();
  close = () => {
    stop();
    removeEventListener("dunlin-escape", escape);
    removeEventListener("hashchange", away);
    drawer.hidden = true;
    drawer.replaceChildren();
    close = null;
    if (from?.isConnected) from.focus();
  };
}

function paintBoard(body, node, name) {
  if (!node) return put(body, h("h1", {}, format.line(name, 60)), h("p", { class: "told" }, "This board is not in the fleet any more."));
  const { health } = node;
  put(body,
    h("h1", {}, format.line(node.name, 60)),
    h("p", { class: "note" }, [format.line(node.class, 60), node.emulated ? "emulated: it does not exist, and paces itself by a model of one" : null].filter(Boolean).join(" · ")),
    node.gone && h("p", { class: "told", role: "status" }, `${stateText(node)}, since ${format.clock(node.changed ?? Date.now())}. What it ran goes on elsewhere, where another board has the model.`),
    power(node),
    facts([
      ["state", stateText(node)],
      ["mode", node.mode || "–"],
      ["power", format.watts(node.watts)],
      ["temperature", `${format.celsius(health.temperature_c)}${health.thermal && health.thermal !== "cool" ? `, ${health.thermal}` : ""}`],
      ["battery", health.battery_percent === null || health.battery_percent === undefined ? "none" : `${health.battery_percent} %, ${health.on_battery ? "in use" : "on mains"}`],
      ["memory", `${format.bytes(node.memory.free_bytes)} free of ${format.bytes(node.memory.total_bytes)}`],
      ["running", `${format.count(node.running)} of ${format.count(node.slots)}`],
      ["on disk", `${node.models.length} models, ${format.bytes(node.disk_free_bytes)} free`],
      ["build", format.line(node.build ?? "", 40) || "–"],
      ...Object.entries(node.labels).map(([label, value]) => [format.line(label, 30), format.line(value, 60)]),
    ]),
    h("h2", {}, "In memory"),
    node.residents.length === 0 ? h("p", { class: "hush" }, "Nothing.") : residents(node),
    h("h2", {}, "Running here"),
    here(node));
}

/** What it drew, as far as this page has seen it. */
function power(node) {
  const seen = node.trace.filter((watts) => watts !== null);
  if (seen.length < 2) return null;
  const range = `${format.watts(Math.min(...seen))} to ${format.watts(Math.max(...seen))}`;
  return h("figure", {}, svg("svg", { viewBox: "0 0 60 16", preserveAspectRatio: "none", role: "img", "aria-label": `Power of the last reports, ${range}` }, svg("polyline", { class: "spark", points: sparkline(node.trace) })),
    h("figcaption", {}, `Power, last ${seen.length} reports: ${range}`));
}

export function facts(rows) {
  return h("dl", { class: "facts" }, rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

function residents(node) {
  return h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, ["Model", "State", "Operating point"].map((text) => h("th", {}, text)), ["Running", "Memory", "KV"].map((text) => h("th", { class: "num" }, text)))),
    h("tbody", {}, node.residents.map((resident) => h("tr", {},
      h("td", {}, h("i", { class: "dot", style: { "--of": modelColour(resident.model) } }), format.line(modelName(resident.model), 40)),
      h("td", {}, resident.state),
      h("td", {}, pointText(resident.point)),
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
  const live = [...fleet.invocations.values()].filter((invocation) => LIVE.has(invocation.state) && invocation.attempts.at(-1)?.node === node.name);
  if (live.length === 0) return h("p", { class: "hush" }, "Nothing.");
  return h("ul", { class: "plain" }, live.map((invocation) => h("li", {}, h("a", { href: `#/invocation/${encodeURIComponent(invocation.id)}` }, `${format.line(invocation.pipeline, 30)} ${format.short(invocation.id)}`), ` ${format.count(invocation.tokens)} tokens`)));
}
