// A chat, with what each answer took.

import { ask, events, request } from "../api.js";
import { h, put, say } from "../dom.js";
import * as format from "../format.js";
import { fleet } from "../store.js";

const MAX_TURNS = 40;
const ANY = "";

/** Stays while one looks at other views. */
const talk = { messages: [], shown: [], model: null, policy: ANY, running: null };

export function show(main, [wanted]) {
  const aliases = [...new Set([...fleet.models.values()].map(({ alias }) => alias))].sort();
  const model = h("select", { id: "model" });
  const policy = h("select", { id: "policy" });
  const most = h("input", { id: "most", type: "number", min: "1", max: "8192", value: "256", inputmode: "numeric" });
  const list = h("div", { class: "talk", role: "log", "aria-live": "polite" });
  const text = h("textarea", { rows: "1", placeholder: "Ask something", "aria-label": "Message", onkeydown: (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    begin();
  } });
  const button = h("button", { class: "main", type: "submit" }, "Send");
  const again = h("button", { type: "button", onclick: () => {
    talk.running?.abort();
    talk.messages = [];
    talk.shown = [];
    put(list);
    text.focus();
  } }, "New chat");
  put(main, h("div", { class: "head chat-options" }, h("h1", {}, "Chat"), h("div", { class: "tools" }, h("label", {}, "Model", model), h("label", {}, "Policy", policy), h("label", {}, "Max tokens", most), again)), list,
    h("form", { class: "ask", onsubmit: (event) => {
      event.preventDefault();
      talk.running ? talk.running.abort() : begin();
    } }, text, button));
  put(list, talk.shown);
  fill(model, aliases, wanted ?? talk.model);
  choices(model, policy, wanted);
  if (matchMedia("(pointer: fine)").matches) text.focus();
  say(button, talk.running ? "Stop" : "Send");

  async function begin() {
    const said = text.value.trim();
    if (!said || talk.running || !model.value) return;
    text.value = "";
    talk.model = model.value;
    talk.policy = policy.value;
    add(h("div", { class: "turn mine" }, said));
    talk.messages.push({ role: "user", content: said });
    talk.messages = talk.messages.slice(-MAX_TURNS);
    talk.running = new AbortController();
    say(button, "Stop");
    const turn = answerTurn();
    add(turn.element);
    await answer(turn, { model: model.value, policy: policy.value, most: Number(most.value) || 256 });
    talk.running = null;
    say(button, "Send");
  }

  function add(element) {
    talk.shown.push(element);
    list.append(element);
    element.scrollIntoView({ block: "end" });
  }
}

function fill(select, names, chosen) {
  const all = chosen && !names.includes(chosen) ? [...names, chosen] : names;
  put(select, all.map((name) => h("option", { value: name }, format.line(name, 50))));
  if (chosen) select.value = chosen;
}

async function choices(model, policy, wanted) {
  const [models, policies] = await Promise.allSettled([ask("/v1/models"), ask("/v1/policies")]);
  if (models.value) fill(model, models.value.data.map(({ id }) => id), wanted ?? talk.model ?? models.value.data[0]?.id);
  put(policy, h("option", { value: ANY }, policies.value ? `default (${format.line(policies.value.default, 30)})` : "default"), policies.value?.policies.map((name) => h("option", { value: name }, format.line(name, 40))));
  policy.value = talk.policy;
}

function answerTurn() {
  const text = h("div", { class: "text" });
  const foot = h("div", { class: "foot" });
  return { element: h("div", { class: "turn busy" }, text, foot), text, foot };
}

async function answer(turn, { model, policy, most }) {
  const began = performance.now();
  const took = { first: null, last: null, pieces: 0 };
  let whole = "";
  let end = {};
  let failure = null;
  try {
    const response = await request("/v1/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json", ...(policy ? { "x-dunlin-policy": policy } : {}) },
      body: JSON.stringify({ model, messages: talk.messages, max_completion_tokens: most, stream: true, stream_options: { include_usage: true } }),
      signal: talk.running.signal,
    });
    for await (const event of events(response)) {
      if (event.data === "[DONE]") break;
      const chunk = JSON.parse(event.data);
      if (chunk.error) throw new Error(chunk.error.message);
      end = { ...end, ...kept(chunk) };
      const piece = chunk.choices?.[0]?.delta?.content;
      if (!piece) continue;
      took.last = performance.now();
      took.first ??= took.last;
      took.pieces += 1;
      whole += piece;
      // Many models begin with a space: it is theirs, and is not shown.
      turn.text.append(whole.trim() === piece.trim() ? piece.trimStart() : piece);
      paintFoot(turn, { ...measured(took, began), ...end });
      follow(turn.element);
    }
  } catch (error) {
    failure = error.name === "AbortError" ? "stopped" : error.message;
  }
  turn.element.classList.remove("busy");
  if (whole) talk.messages.push({ role: "assistant", content: whole });
  else talk.messages.pop();
  paintFoot(turn, { ...measured(took, began), ...end }, failure);
  follow(turn.element);
}

/** Of what comes with the chunks, the parts that are about the answer as a whole. */
function kept({ id, usage, timings, energy, node, point, emulated, dunlin }) {
  const found = { id, usage, timings, energy, node, point, emulated, ...dunlin };
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== null && value !== undefined));
}

function measured({ first, last, pieces }, began) {
  const ttft = first === null ? null : first - began;
  return { ttft, rate: pieces > 1 && last > first ? ((pieces - 1) * 1000) / (last - first) : null };
}

/** TTFT as this page saw it; tokens a second by the usage, once it is there. */
function paintFoot({ foot, element }, { ttft, rate, usage, timings, energy, node, emulated, id, point }, failure) {
  const tokens = usage?.completion_tokens;
  const decode = timings?.decode_ms ?? timings?.predicted_ms;
  const pace = tokens > 1 && decode > 0 ? ((tokens - 1) * 1000) / decode : rate;
  const items = [
    failure && h("span", { class: "bad" }, format.line(failure, 400)),
    ttft !== null && h("span", { title: "time to first token, as this page saw it" }, `TTFT ${format.ms(ttft)}`),
    pace && h("span", {}, format.rate(pace, "tok/s")),
    tokens && h("span", {}, `${format.count(tokens)} tokens`),
    usage && !energy && h("span", {}, "energy unknown"),
    energy && h("span", { title: format.energy(energy) }, `${format.joules(energy.total_joules)}${energy.provenance === "declared" ? " by declared watts" : ""}`),
    energy && tokens > 0 && h("span", {}, `${format.joules(energy.total_joules / tokens)}/token`),
    node && h("span", {}, [format.line(node, 40), typeof point === "string" ? point : point?.mode].filter(Boolean).join(" ")),
    emulated && h("span", { class: "emulated" }, "emulated"),
    id && usage && h("a", { href: `#/invocation/${encodeURIComponent(invocationOf(id))}` }, "placement"),
  ];
  put(foot, items);
  if (failure && failure !== "stopped") element.classList.add("failed");
}

/** The id of a completion holds that of its invocation. */
const invocationOf = (id) => String(id).replace(/^(chatcmpl|cmpl)-/, "");

/** Scrolls along, for whoever is at the end. */
function follow(element) {
  const { bottom } = element.getBoundingClientRect();
  if (bottom < innerHeight + 160) element.scrollIntoView({ block: "end" });
}
