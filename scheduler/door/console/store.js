// What is known of the fleet, and who wants to hear of it. Events change it; views read it once a frame.

import { listen } from "./api.js";

const MAX_INVOCATIONS = 500;
const MAX_HAPPENINGS = 200;
const TRACE = 60;
export const GONE = new Set(["lost", "suspected", "denied"]);
export const LIVE = new Set(["queued", "backoff", "placed", "running"]);
export const WAITING = new Set(["queued", "backoff"]);

export const fleet = {
  summary: {},
  nodes: new Map(),
  invocations: new Map(),
  models: new Map(),
  /** Of all aliases: two of them may stand for one model. */
  variants: [],
  happenings: [],
  link: { state: "connecting" },
};

const listeners = new Map();

/** Calls back when something of these topics changed: "nodes", "invocations", "models", "happenings", "link", "summary". */
export function watch(topics, then) {
  for (const topic of topics) {
    if (!listeners.has(topic)) listeners.set(topic, new Set());
    listeners.get(topic).add(then);
  }
  return () => topics.forEach((topic) => listeners.get(topic).delete(then));
}

function tell(topic, changed) {
  for (const then of listeners.get(topic) ?? []) then(topic, changed);
}

let stop = null;

export function begin(probe) {
  end();
  stop = listen("/v1/events", {
    event: (name, data) => handlers[name]?.(data),
    state: (state, details) => {
      fleet.link = { state, ...details };
      tell("link");
    },
  });
  readClock(probe);
}

export function end() {
  stop?.();
  stop = null;
  for (const map of [fleet.nodes, fleet.invocations, fleet.models]) map.clear();
  fleet.variants = [];
  fleet.happenings.length = 0;
}

const handlers = {
  snapshot(said) {
    const { nodes = [], models, invocations = [], ...summary } = said;
    fleet.summary = summary;
    if (models) onModels(models);
    const names = new Set(nodes.map(({ name }) => name));
    for (const name of fleet.nodes.keys()) if (!names.has(name)) fleet.nodes.delete(name);
    nodes.forEach(onNode);
    fleet.invocations.clear();
    // They come with the newest first, and are kept with the newest last.
    invocations.reverse().forEach(onInvocation);
    ["summary", "nodes", "models", "invocations"].forEach((topic) => tell(topic));
  },
  change({ fleet: summary, models, gone = [], nodes = [], invocations = [] }) {
    if (summary) {
      fleet.summary = summary;
      tell("summary");
    }
    if (models) {
      onModels(models);
      tell("models");
    }
    for (const name of gone) if (fleet.nodes.delete(name)) happened("bad", `${name} left the fleet`);
    nodes.forEach(onNode);
    if (gone.length + nodes.length > 0) tell("nodes");
    invocations.forEach(onInvocation);
    if (invocations.length > 0) tell("invocations");
  },
};

function onModels(models) {
  fleet.variants = models.flatMap(({ alias, variants }) => variants.map((variant) => ({ alias, ...variant })));
  fleet.models.clear();
  for (const variant of fleet.variants) {
    fleet.models.set(variant.digest, variant);
    modelColour(variant.digest);
  }
}

function onNode(said) {
  const before = fleet.nodes.get(said.name);
  const node = { labels: {}, models: [], health: {}, memory: {}, running: 0, ...said };
  node.residents = node.models.filter(({ resident }) => resident).map(({ digest, name, resident }) => ({ model: digest, name, ...resident }));
  node.gone = GONE.has(node.state);
  node.rest = node.gone ? null : restOf(node);
  node.changed = before && before.state !== node.state ? Date.now() : before?.changed ?? null;
  node.watts = node.gone ? null : node.health.watts ?? null;
  node.trace = before?.trace ?? [];
  node.trace.push(node.watts);
  if (node.trace.length > TRACE) node.trace.shift();
  fleet.nodes.set(node.name, node);
  if (before) moved(before, node);
}

/** What a board is about, other than work: "rests", "off", "goes", "wakes", "changes"; `null`: nothing. */
function restOf({ state, plan }) {
  const parked = plan?.parked;
  if (state === "parked") return parked?.level === "off" ? "off" : "rests";
  if (state === "wakes") return "wakes";
  if (parked?.stage === "goes") return "goes";
  return plan?.changes_to ? "changes" : null;
}

/** What of its plan is worth a line. */
function moved(before, node) {
  const { name, rest, mode, plan } = node;
  if (plan?.failure && plan.failure !== before.plan?.failure) happened("bad", `${name}: ${plan.failure}`);
  if (node.gone || before.gone) return before.state === node.state || stateChanged(before, node);
  const text = { rests: `rests in ${mode}`, off: "is off", goes: "goes to rest", wakes: "wakes", changes: `goes from ${mode} to ${plan?.changes_to}` };
  if (rest && rest !== before.rest) return happened("plain", `${name} ${text[rest]}`);
  if (!rest && before.rest && before.rest !== "changes") return happened("plain", `${name} is awake`);
  if (!rest && mode !== before.mode) return happened("plain", `${name} is in ${mode}`);
  if (!rest && !before.rest && before.state !== node.state) stateChanged(before, node);
}

function stateChanged(before, node) {
  const text = { lost: "was lost", suspected: "does not answer", ready: GONE.has(before.state) ? "is back" : "is ready", cordoned: "is cordoned", draining: "drains", wedged: "is connected, but its reports have stopped", denied: "is denied" }[node.state];
  happened(node.gone || node.state === "wedged" ? "bad" : "plain", `${node.name} ${text ?? `is ${node.state}`}`);
}

function onInvocation(said) {
  const before = fleet.invocations.get(said.id);
  const invocation = { attempts: [], ...said, heard: now() };
  // The newest last: what is at the front goes first.
  if (!before && fleet.invocations.size >= MAX_INVOCATIONS) forgetOne();
  fleet.invocations.set(said.id, invocation);
  const from = before?.attempts.at(-1)?.node;
  const to = invocation.attempts.at(-1)?.node;
  if (from && invocation.attempts.length > before.attempts.length) {
    happened("plain", from === to ? `An answer began anew on ${to}` : `An answer moved from ${from} to ${to}`, invocation.id);
  }
  if (before && invocation.state === "failed" && before.state !== "failed") happened("bad", `An invocation of ${invocation.pipeline} failed`, invocation.id);
}

function forgetOne() {
  for (const [id, { state }] of fleet.invocations) {
    if (LIVE.has(state)) continue;
    fleet.invocations.delete(id);
    return;
  }
  fleet.invocations.delete(fleet.invocations.keys().next().value);
}

/** Something that a person may want to have seen. */
export function happened(kind, text, invocation) {
  fleet.happenings.unshift({ at: Date.now(), kind, text, invocation });
  fleet.happenings.length = Math.min(fleet.happenings.length, MAX_HAPPENINGS);
  tell("happenings");
}

/** The clock of the scheduler: its times are told by that of whoever looks otherwise. */
let ahead = 0;
export const now = () => Date.now() + ahead;

/** Without an invocation to read it from, both clocks are taken for right. */
function readClock(probe) {
  const newest = probe?.data?.[0];
  if (newest) ahead = newest.submitted_unix_ms + newest.age_ms - Date.now();
}

/** The name of a model, by its digest. */
export function modelName(digest) {
  const known = fleet.models.get(digest);
  if (!known) return String(digest ?? "").replace(/^(sha256|blake3):/, "").slice(0, 10);
  return known.name && known.name !== known.alias ? `${known.alias} ${known.name}` : known.alias;
}

const COLOURS = 12;
const colours = new Map();

/** The same for a model wherever it is, and no two alike while there are enough: in the order in which models were seen. */
export function modelColour(digest) {
  if (!colours.has(digest)) colours.set(digest, colours.size % COLOURS);
  return `var(--m${colours.get(digest)})`;
}

/** Milliseconds that an invocation took, or has taken until now. */
export function elapsed(invocation) {
  return LIVE.has(invocation.state) ? Math.max(0, now() - invocation.submitted_unix_ms) : invocation.ended_ms ?? 0;
}

/** Tokens a second since the first one; `null`: too few to say. */
export function rateOf(invocation) {
  const first = invocation.first_token_ms;
  if (first === null || first === undefined || invocation.tokens < 2) return null;
  // While it runs, up to what was heard last.
  const until = LIVE.has(invocation.state) ? invocation.heard - invocation.submitted_unix_ms : invocation.ended_ms;
  return until > first ? ((invocation.tokens - 1) * 1000) / (until - first) : null;
}

/** Figures of the whole fleet. */
export function totals() {
  const sum = { all: 0, ready: 0, gone: 0, resting: 0, off: 0, emulated: 0, running: 0, watts: 0, measured: 0, onBattery: 0 };
  for (const node of fleet.nodes.values()) {
    sum.all += 1;
    if (node.emulated) sum.emulated += 1;
    if (node.gone) {
      sum.gone += 1;
      continue;
    }
    if (node.state === "ready") sum.ready += 1;
    if (node.state === "parked") sum.resting += 1;
    if (node.rest === "off") sum.off += 1;
    sum.running += node.running;
    if (node.health.on_battery) sum.onBattery += 1;
    if (node.watts !== null) {
      sum.watts += node.watts;
      sum.measured += 1;
    }
  }
  return sum;
}
