// What models there are, and where they are.

import { everyFrame, h, put } from "../dom.js";
import * as format from "../format.js";
import { fleet, modelColour, watch } from "../store.js";

export function show(main) {
  const body = h("div");
  put(main, h("div", { class: "head" }, h("h1", {}, "Models"), h("span", { class: "note" }, "what boards hold, on disk and in memory")), body);
  const paint = everyFrame(() => paintModels(body));
  const stop = watch(["models", "nodes"], paint);
  paint();
  return stop;
}

function paintModels(body) {
  const aliases = new Map();
  for (const variant of fleet.variants) {
    if (!aliases.has(variant.alias)) aliases.set(variant.alias, []);
    aliases.get(variant.alias).push(variant);
  }
  if (aliases.size === 0) return put(body, h("div", { class: "empty" }, h("p", { class: "note" }, "No models yet."), h("p", {}, "Give the fleet one: ", h("code", {}, "dunlin models push demo"))));
  const where = places();
  put(body, table([...aliases].sort(([a], [b]) => a.localeCompare(b)), where));
}

/** Boards that have a model in memory, by its digest. */
function places() {
  const where = new Map();
  for (const node of fleet.nodes.values()) {
    if (node.gone) continue;
    for (const resident of node.residents) {
      if (!where.has(resident.model)) where.set(resident.model, []);
      where.get(resident.model).push({ node, resident });
    }
  }
  return where;
}

function table(aliases, where) {
  const names = [["Model"], ["Variant"], ["Size", "num"], ["Quality", "num"], ["On disk", "num"], ["In memory"], [""]];
  return h("section", { class: "sheet scroll" }, h("table", { class: "models" },
    h("thead", {}, h("tr", {}, names.map(([name, kind]) => h("th", { class: kind }, name)))),
    aliases.map(([alias, variants]) => h("tbody", {}, variants.map((variant, index) => row(alias, index, variant, where.get(variant.digest) ?? []))))));
}

function row(alias, index, variant, residents) {
  const shown = residents.slice(0, 12).map(({ node, resident }) => h("span", {}, format.line(node.name, 30), node.emulated && h("small", { class: "note" }, " emulated"), resident.state === "ready" ? "" : ` ${resident.state}`, resident.running ? `, ${resident.running} running` : ""));
  const list = shown.flatMap((item, at) => (at > 0 ? [" · ", item] : [item]));
  const more = residents.length > 12 ? ` and ${residents.length - 12} more` : "";
  const links = [["costs", "Costs"], ["chat", "Chat"]].map(([view, text]) => h("a", { href: `#/${view}/${encodeURIComponent(alias)}` }, text));
  return h("tr", {},
    h("td", { class: "name" }, index === 0 ? format.line(alias, 60) : ""),
    h("td", { class: "variant", title: variant.digest }, h("i", { class: "dot", style: { "--of": modelColour(variant.digest) } }), format.line(variant.name || variant.alias, 50)),
    h("td", { class: "num size" }, variant.bytes ? format.bytes(variant.bytes) : "–"),
    h("td", { class: "num quality" }, variant.quality ? `${(variant.quality * 100).toFixed(1)} %` : "–"),
    h("td", { class: "num disk" }, format.count(variant.stored_on)),
    h("td", { class: "memory-of" }, list.length > 0 ? [list, more] : "–"),
    h("td", { class: "num links" }, index === 0 ? [links[0], " ", links[1]] : ""));
}
