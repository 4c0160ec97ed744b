// The page: which view is shown, the line at the top, keys, log-in.

import { ask, session } from "./api.js";
import { everyFrame, h, put, say } from "./dom.js";
import * as format from "./format.js";
import { begin, end, fleet, LIVE, rateOf, totals, WAITING, watch } from "./store.js";

const VIEWS = [
  { name: "fleet", title: "Fleet" },
  { name: "invocations", title: "Invocations" },
  { name: "models", title: "Models" },
  { name: "costs", title: "Costs" },
  { name: "policies", title: "Policies" },
  { name: "pipelines", title: "Pipelines" },
  { name: "chat", title: "Chat" },
];
const KEYS = [
  ["1 – 7", "the views, in their order"],
  ["/", "search in this view"],
  ["← ↑ → ↓", "from board to board"],
  ["Enter", "open a board or an invocation"],
  ["Esc", "close what is open"],
  ["t", "light or dark"],
  ["?", "these keys"],
];

const main = document.getElementById("main");
const nav = document.getElementById("nav");
const link = document.getElementById("link");
let inside = false;
let leaveView = null;
let shown = 0;

/** Shows the view that the address names. */
async function route() {
  const [name = "fleet", ...rest] = decoded(location.hash.replace(/^#\/?/, "")).filter(Boolean);
  if (!inside) return;
  const view = name === "invocation" ? "invocation" : VIEWS.find((known) => known.name === name)?.name ?? "fleet";
  const number = ++shown;
  const module = await import(`./views/${view}.js`);
  if (number !== shown) return;
  close();
  mark(view === "invocation" ? "invocations" : view);
  main.className = `view-${view}`;
  main.replaceChildren();
  leaveView = module.show(main, rest) ?? null;
  scrollTo(0, 0);
}

function decoded(hash) {
  try {
    return hash.split("/").map(decodeURIComponent);
  } catch {
    return [];
  }
}

function close() {
  leaveView?.();
  leaveView = null;
}

function mark(name) {
  document.title = `${VIEWS.find((view) => view.name === name)?.title ?? ""} · Dunlin`;
  for (const anchor of nav.children) {
    if (anchor.dataset.view === name) {
      anchor.setAttribute("aria-current", "page");
      // On a phone not all of them are seen at once.
      anchor.scrollIntoView({ block: "nearest", inline: "center" });
    } else anchor.removeAttribute("aria-current");
  }
}

async function logIn() {
  inside = false;
  end();
  close();
  // A board that is open would keep the form out of reach.
  dispatchEvent(new CustomEvent("dunlin-escape"));
  document.body.classList.add("outside");
  const { show } = await import("./views/login.js");
  main.className = "view-login";
  main.replaceChildren();
  leaveView = show(main, enter);
}

/** `probe`: an answer that says the time of the scheduler. */
function enter(probe) {
  inside = true;
  document.body.classList.remove("outside");
  document.getElementById("leave").hidden = !session.key;
  begin(probe);
  route();
}

/** Where only this machine can connect, no key is needed; a link may bring one, which need not stay in the history. */
async function arrive() {
  const brought = decoded(location.hash.replace(/^#\/?/, ""));
  if (brought[0] === "enter" && brought[1]) {
    session.key = brought[1];
    history.replaceState(null, "", "#/fleet");
  }
  let probe = null;
  try {
    probe = await ask("/v1/invocations?limit=1");
  } catch (error) {
    if (error.status === 401 || error.status === 403) return logIn();
  }
  // Whatever else is wrong, the page says so, and tries again.
  enter(probe);
}

const paintPulse = everyFrame(() => {
  const sum = totals();
  const live = [...fleet.invocations.values()].filter((invocation) => LIVE.has(invocation.state));
  const queued = live.filter(({ state }) => WAITING.has(state)).length;
  const rate = live.reduce((all, invocation) => all + (rateOf(invocation) ?? 0), 0);
  const on = sum.all - sum.gone - sum.off;
  const boards = sum.gone > 0 ? `${sum.all - sum.gone} of ${sum.all}` : `${sum.all}`;
  const figures = [
    ["boards", boards, sum.gone > 0 ? "bad" : ""],
    ["running", sum.running],
    ["queued", queued, queued > 0 ? "warm" : ""],
    ["throughput", rate > 0 ? format.rate(rate, "tok/s") : "–"],
    ["power", sum.measured > 0 ? format.watts(sum.watts) : "–", "", sum.measured < on ? `${sum.measured} of ${on} boards say what they draw` : "all boards that are on"],
  ];
  if (sum.resting > 0) figures.splice(1, 0, ["at rest", sum.resting, "", "They take no work until they are woken"]);
  if (sum.emulated > 0) figures.push(["emulated", `${sum.emulated} of ${sum.all}`, "", "Boards that do not exist, at the pace and power of a model of one"]);
  pulse(figures);
});

const pulseRows = new Map();
function pulse(figures) {
  const section = document.getElementById("pulse");
  const names = new Set(figures.map(([name]) => name));
  for (const [name, row] of pulseRows) if (!names.has(name)) (row.element.remove(), pulseRows.delete(name));
  let before = null;
  for (const [name, value, kind = "", title = ""] of figures) {
    if (!pulseRows.has(name)) {
      const figure = h("b");
      const element = h("div", {}, h("span", { class: "label" }, name), figure);
      pulseRows.set(name, { element, figure });
      // A figure that comes later still has its place.
      before ? before.after(element) : section.prepend(element);
    }
    const { element, figure } = pulseRows.get(name);
    before = element;
    say(figure, String(value));
    figure.className = kind;
    element.title = title;
  }
}

function paintLink() {
  const { state, why, seconds } = fleet.link;
  link.dataset.state = state;
  const text = { live: "live", connecting: "connecting" }[state] ?? `no connection, next try in ${seconds} s`;
  say(link, text);
  link.title = why ?? "";
  document.body.classList.toggle("stale", state === "waiting");
}

function turnTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("dunlin-theme", root.dataset.theme);
}

function showKeys() {
  const dialog = document.getElementById("keys");
  put(dialog, h("h2", {}, "Keys"), h("table", {}, h("tbody", {}, KEYS.map(([key, does]) => h("tr", {}, h("td", {}, h("kbd", {}, key)), h("td", {}, does))))), h("form", { method: "dialog" }, h("button", { class: "main" }, "Close")));
  if (!dialog.open) dialog.showModal();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !inside) return;
  if (event.key === "Escape") return dispatchEvent(new CustomEvent("dunlin-escape"));
  if (event.target.closest?.("input, textarea, select, dialog[open]")) return;
  const view = VIEWS[Number(event.key) - 1];
  if (view) location.hash = `#/${view.name}`;
  else if (event.key === "t") turnTheme();
  else if (event.key === "?") showKeys();
  else if (event.key === "/") {
    event.preventDefault();
    main.querySelector("input[type=search]")?.focus();
  }
}

nav.append(...VIEWS.map(({ name, title }, index) => h("a", { href: `#/${name}`, data: { view: name }, title: `${title} (${index + 1})` }, title)));
put(document.getElementById("theme"), "◐");
document.getElementById("theme").addEventListener("click", turnTheme);
document.getElementById("leave").addEventListener("click", () => {
  session.key = null;
  location.hash = "#/fleet";
  logIn();
});
addEventListener("hashchange", route);
addEventListener("keydown", onKey);
addEventListener("dunlin-unauthorized", () => {
  if (!inside) return;
  session.key = null;
  logIn();
});
watch(["nodes", "invocations"], paintPulse);
watch(["link"], paintLink);
watch(["happenings"], () => {
  const last = fleet.happenings[0];
  if (last?.kind === "bad") say(document.getElementById("said"), last.text);
});
arrive();
