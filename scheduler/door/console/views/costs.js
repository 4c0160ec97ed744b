// What an answer costs where: time against joules, by what was predicted and by what it took.

import { ask } from "../api.js";
import { h, put } from "../dom.js";
import * as format from "../format.js";
import { fleet, modelColour, modelName } from "../store.js";
import { pointText } from "./board.js";
import { pareto } from "./pareto.js";

/** Invocations whose explanations are read. */
const READ = 24;

export function show(main, [wanted]) {
  const aliases = [...new Set([...fleet.models.values()].map(({ alias }) => alias))].sort();
  const seen = [...fleet.invocations.values()].map(({ model }) => model).filter(Boolean);
  const names = [...new Set([...seen, ...aliases, ...(wanted ? [wanted] : [])])];
  const choice = h("select", { "aria-label": "Model", onchange: () => (location.hash = `#/costs/${encodeURIComponent(choice.value)}`) }, names.map((name) => h("option", { value: name }, format.line(name, 50))));
  if (names.length > 0) choice.value = wanted ?? names[0];
  const body = h("div");
  put(main, h("div", { class: "head" }, h("h1", {}, "Costs"), h("span", { class: "note" }, "time against joules, for each operating point that was a candidate"), h("div", { class: "tools" }, choice)), body);
  const aborting = new AbortController();
  if (names.length === 0) put(body, nothing());
  else load(body, choice.value, aborting.signal);
  return () => aborting.abort();
}

const nothing = () => h("div", { class: "empty" }, h("p", { class: "note" }, "Nothing of this model has run in the last ten minutes, so nothing was predicted."), h("p", {}, h("a", { href: "#/chat" }, "Ask something"), ", and come back."));

async function load(body, alias, signal) {
  put(body, h("p", { class: "hush" }, "Reading what was predicted ..."));
  const of = [...fleet.invocations.values()].filter(({ model }) => model === alias).sort((a, b) => b.submitted_unix_ms - a.submitted_unix_ms).slice(0, READ);
  const said = await Promise.allSettled(of.map(({ id }) => ask(`/v1/invocations/${encodeURIComponent(id)}`, signal)));
  if (signal.aborted) return;
  const decisions = said.flatMap(({ value }) => value?.explanation?.decisions ?? []);
  const places = gather(decisions);
  if (places.length === 0) return put(body, nothing());
  put(body,
    h("div", { class: "plots" },
      plot("Time to first token", "TTFT", places, (place) => place.ttft),
      plot("Time per output token", "TPOT", places, (place) => place.tpot)),
    h("section", { class: "sheet" }, h("h2", {}, "Operating points"), h("div", { class: "scroll" }, table(places)),
      h("p", { class: "note small" }, `As predicted when each was last a candidate, over the last ${of.length === 1 ? "invocation" : `${of.length} invocations`}; joules are those that an answer adds to what the board draws anyway. Emulated boards are drawn hollow, and do not exist.`)));
}

/** The newest prediction for each place, and all that was taken there. Decisions come newest first. */
function gather(decisions) {
  const places = new Map();
  for (const decision of decisions) {
    for (const candidate of decision.candidates) {
      const key = `${candidate.node} ${pointText(candidate.point)} ${candidate.model}`;
      const said = candidate.predicted;
      if (!said || !said.tpot_ms) continue;
      const tokens = Math.max(1, Math.round((said.total_ms - said.ttft_ms) / said.tpot_ms) + 1);
      const joules = said.marginal_joules ?? null;
      if (!places.has(key)) places.set(key, { key, node: candidate.node, point: pointText(candidate.point), model: candidate.model, variant: candidate.variant || modelName(candidate.model), emulated: candidate.emulated, assumed: said.assumed, ttft: said.ttft_ms, tpot: said.tpot_ms, joules: joules === null ? null : joules / tokens, tokens, took: [] });
      if (candidate.chosen && decision.actual?.output_tokens > 0) places.get(key).took.push({ usage: decision.actual, said });
    }
  }
  return [...places.values()];
}

function plot(title, name, places, value) {
  const points = places.filter((place) => place.joules !== null).map((place) => ({ x: place.joules, y: value(place), label: `${place.node} ${place.point}`, short: place.node, emulated: place.emulated, colour: modelColour(place.model), detail: `${place.node}, ${place.point}, ${place.variant}: ${name} ${format.ms(value(place))}, ${format.joules(place.joules)} a token` }));
  const unknown = places.length - points.length;
  return h("section", { class: "sheet" }, h("h2", {}, title), h("p", { class: "note small" }, `${name} against energy per token; the dotted line is the Pareto front`),
    points.length > 0 ? pareto(points, name) : h("p", { class: "empty" }, "No board here says what it draws."),
    unknown > 0 && points.length > 0 && h("p", { class: "faint small" }, `${unknown} without joules are not shown.`));
}

function median(values) {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b);
  return sorted.length === 0 ? null : sorted[Math.floor((sorted.length - 1) / 2)];
}

function table(places) {
  const numbers = ["TTFT", "TPOT", "J/token", "Answers", "TTFT error", "TPOT error"];
  const rows = places.sort((a, b) => b.took.length - a.took.length || (a.joules ?? 1e9) - (b.joules ?? 1e9));
  return h("table", { class: "places" }, h("thead", {}, h("tr", {}, ["Board", "Operating point", "Model"].map((text) => h("th", {}, text)), numbers.map((text) => h("th", { class: "num" }, text)))),
    h("tbody", {}, rows.map((place) => {
      const off = (took, said) => {
        const middle = median(place.took.map((of) => (of.said[said] > 0 && of.usage[took] > 0 ? Math.abs(of.usage[took] / of.said[said] - 1) * 100 : NaN)));
        return middle === null ? "–" : `${middle.toFixed(0)} %`;
      };
      return h("tr", {}, h("td", {}, format.line(place.node, 30), place.emulated && h("small", { class: "note" }, " emulated")), h("td", {}, place.point), h("td", {}, format.line(place.variant, 40), place.assumed && h("small", { class: "note" }, " assumed")),
        [format.ms(place.ttft), format.ms(place.tpot), place.joules === null ? "–" : format.joules(place.joules), place.took.length || "–", off("ttft_ms", "ttft_ms"), off("tpot_p50_ms", "tpot_ms")].map((text) => h("td", { class: "num" }, text)));
    })));
}
