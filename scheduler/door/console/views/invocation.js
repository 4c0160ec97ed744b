// The life of one invocation: when, where, and why there.

import { ask, Refused, request } from "../api.js";
import { everyFrame, h, put } from "../dom.js";
import * as format from "../format.js";
import { elapsed, fleet, LIVE, modelName, now, rateOf, watch } from "../store.js";
import { pointText } from "./board.js";
import { key, joulesOf } from "./invocations.js";
import { timeline } from "./timeline.js";

const AGAIN_MS = 1000;

export function show(main, [id = ""]) {
  const head = h("div", { class: "head" });
  const figures = h("dl", { class: "figures" });
  const picture = h("div", { class: "sheet" });
  const why = h("div");
  const told = h("p", { class: "told", hidden: true, role: "alert" });
  put(main, head, told, figures, picture, why);
  let explanation = null;
  let timer = null;
  let known = fleet.invocations.get(id);
  const aborting = new AbortController();

  const paint = everyFrame(() => {
    known = fleet.invocations.get(id) ?? known;
    paintHead(head, id, known);
    if (known) {
      put(figures, figuresOf(known));
      put(picture, h("div", { class: "scroll" }, timeline(known, explanation)), h("p", { class: "key" }, key(), h("span", {}, "▽ predicted")));
    }
    picture.hidden = !known;
  });

  async function load() {
    try {
      const said = await ask(`/v1/invocations/${encodeURIComponent(id)}`, aborting.signal);
      explanation = said.explanation;
      known = { attempts: [], ...said, heard: now() };
      told.hidden = true;
      put(why, explanation?.decisions.map(decision));
    } catch (error) {
      if (error.name === "AbortError") return;
      told.hidden = false;
      told.textContent = error instanceof Refused && error.status === 404 ? "Nothing is known of this invocation any more: they are kept for ten minutes after their end." : error.message;
    }
    paint();
    if (!aborting.signal.aborted && known && LIVE.has(known.state)) timer = setTimeout(load, AGAIN_MS);
  }

  const stop = watch(["invocations"], (topic, changed) => {
    if (changed && changed !== id) return;
    const ended = known && LIVE.has(known.state) && !LIVE.has(fleet.invocations.get(id)?.state);
    paint();
    if (ended) load();
  });
  paint();
  load();
  return () => {
    stop();
    aborting.abort();
    clearTimeout(timer);
  };
}

function paintHead(head, id, invocation) {
  const live = invocation && LIVE.has(invocation.state);
  const pipeline = invocation?.pipeline ?? "Invocation";
  put(head, h("h1", {}, format.line(pipeline, 40), invocation && h("span", { class: "note" }, ` of ${format.line(invocation.model, 40)}`)),
    h("code", { class: "small faint" }, format.line(id, 64)),
    h("div", { class: "tools" }, live && h("button", { type: "button", onclick: (event) => cancel(event.target, id) }, "Cancel it"), h("a", { href: "#/invocations" }, "All invocations")));
}

async function cancel(button, id) {
  button.disabled = true;
  try {
    await request(`/v1/invocations/${encodeURIComponent(id)}`, { method: "DELETE" });
  } catch (error) {
    button.disabled = false;
    button.title = error.message;
  }
}

function figuresOf(invocation) {
  const { usage } = invocation;
  const rate = rateOf(invocation);
  const rows = [
    ["state", invocation.state],
    ["TTFT", format.ms(invocation.first_token_ms)],
    ["total", format.ms(elapsed(invocation))],
    ["tokens", format.count(invocation.tokens)],
    ["tokens/s", rate === null ? "–" : format.rate(rate, "").trim()],
    ["energy", energyText(usage)],
    ["prompt", usage ? `${format.count(usage.prompt_tokens)}${usage.cached_tokens ? ` + ${format.count(usage.cached_tokens)} cached` : ""}` : "–"],
    ["policy", format.line(invocation.policy, 30)],
  ];
  const { prefill_joules: reading, decode_joules: writing } = usage?.energy ?? {};
  if (reading !== undefined && writing !== undefined) rows.splice(6, 0, ["prefill, decode", `${format.joules(reading)}, ${format.joules(writing)}`]);
  const failure = invocation.error && h("div", { class: "told" }, format.line(invocation.error.message, 600));
  return [rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))), failure];
}

function energyText(usage) {
  const joules = joulesOf(usage);
  if (joules === null) return usage ? "not known" : "–";
  return h("span", { title: format.energy(usage.energy) }, format.joules(joules), h("small", { class: "note" }, ` ${usage.energy.provenance}`));
}

function decision(decision) {
  const title = decision.attempt === null || decision.attempt === undefined ? "Placement: why it waits" : decision.attempt === 0 ? "Placement" : `Placement, attempt ${decision.attempt}`;
  const head = ["Board", "Operating point", "Model"].map((text) => h("th", {}, text)).concat(["TTFT", "p90", "TPOT", "p90", "Total", "Energy"].map((text) => h("th", { class: "num" }, text)), h("th", {}, "Verdict"));
  return h("section", { class: "sheet" }, h("h2", {}, title, " ", h("small", { class: "faint" }, format.clock(decision.unix_ms))),
    h("div", { class: "scroll" }, h("table", { class: "why" }, h("thead", {}, h("tr", {}, head)), h("tbody", {}, decision.candidates.map(candidate), decision.actual && actual(decision)))),
    decision.others?.length > 0 && h("p", { class: "note" }, decision.others.map(({ verdict, count }) => `${count} more: ${verdict}`).join(" · ")),
    decision.recomputed === false && h("p", { class: "told" }, "A second computation from what was recorded chose another place: a bug of Dunlin."));
}

const time = (value) => (value ? format.ms(value) : "–");

function candidate(of) {
  const predicted = of.predicted ?? {};
  const notes = [of.verdict, predicted.assumed && "assumed", predicted.extrapolated && "extrapolated"].filter(Boolean).join(", ");
  return h("tr", { class: of.chosen ? "chosen" : "" },
    h("td", {}, format.line(of.node, 30), of.emulated && h("small", { class: "note" }, " emulated")),
    h("td", {}, pointText(of.point)), h("td", {}, format.line(of.variant || modelName(of.model), 30)),
    [...["ttft_ms", "ttft_q90_ms", "tpot_ms", "tpot_q90_ms", "total_ms"].map((name) => time(predicted[name])), format.joules(predicted.marginal_joules)].map((text) => h("td", { class: "num" }, text)),
    h("td", {}, format.line(notes, 80)));
}

/** What came of the one that was chosen, and how far from what was said of it. */
function actual({ actual: usage, candidates }) {
  const said = candidates.find(({ chosen }) => chosen)?.predicted ?? {};
  const pair = (took, predicted) => h("td", { class: "num" }, time(took), took ? h("small", { class: "faint" }, ` ${format.against(took, predicted)}`) : "");
  return h("tr", { class: "actual" }, h("td", {}, format.line(usage.node, 30)), h("td", {}, "actual"), h("td", {}, ""),
    pair(usage.ttft_ms, said.ttft_ms), h("td"), pair(usage.tpot_p50_ms, said.tpot_ms), h("td"), pair(usage.total_ms, said.total_ms),
    h("td", { class: "num" }, joulesOf(usage) === null ? "–" : format.joules(joulesOf(usage))), h("td", {}, `${format.count(usage.output_tokens)} tokens${usage.emulated ? ", emulated" : ""}`));
}
