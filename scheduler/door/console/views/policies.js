// Policies: read, written, and checked while one writes.

import { ask, send } from "../api.js";
import { h, put, say } from "../dom.js";
import * as format from "../format.js";

const CHECK_AFTER_MS = 250;
const NEW = 'objective = "latency"\nwhen_nothing_fits = "best-effort"\n\n[targets]\nttft_ms = 3000\n';

export function show(main, [wanted]) {
  const list = h("div", { class: "list", role: "group", "aria-label": "Policies" });
  const name = h("input", { "aria-label": "Name", placeholder: "name", spellcheck: "false", maxlength: "64" });
  const lines = h("ol", { "aria-hidden": "true" });
  const text = h("textarea", { "aria-label": "The policy, as TOML", spellcheck: "false", wrap: "off", autocapitalize: "off" });
  const faults = h("ul", { class: "faults", "aria-live": "polite" });
  const verdict = h("span", { class: "note", role: "status" });
  const save = h("button", { class: "main", type: "button", disabled: true }, "Apply");
  put(main, h("div", { class: "head" }, h("h1", {}, "Policies"), h("span", { class: "note" }, "targets that a placement has to keep, and what it optimises")),
    h("div", { class: "desk" }, list, h("div", {},
      h("div", { class: "head" }, name, verdict, h("div", { class: "tools" }, save)),
      h("div", { class: "editor" }, lines, text), faults)));
  const aborting = new AbortController();
  let timer = null;
  let wrong = new Set();

  function paintLines() {
    const count = text.value.split("\n").length;
    put(lines, Array.from({ length: count }, (_, index) => h("li", {}, h("span", { class: wrong.has(index + 1) ? "wrong" : "" }, index + 1))));
    lines.scrollTop = text.scrollTop;
  }

  async function check() {
    const written = text.value;
    try {
      const said = await send("POST", "/v1/policy-check", { toml: written }, aborting.signal);
      if (written !== text.value) return;
      wrong = new Set(said.faults.map(({ line }) => line));
      put(faults, said.faults.map((fault) => h("li", {}, h("button", { type: "button", onclick: () => go(fault) }, h("span", { class: "at" }, `line ${fault.line}, column ${fault.column}`), format.line(fault.text, 500)))));
      save.disabled = said.faults.length > 0;
      say(verdict, said.faults.length === 0 ? "valid" : "");
    } catch (error) {
      if (error.name === "AbortError") return;
      put(faults, h("li", { class: "told" }, error.message));
    }
    paintLines();
  }

  function go({ line, column }) {
    const rows = text.value.split("\n");
    const at = rows.slice(0, Math.max(0, line - 1)).reduce((sum, row) => sum + row.length + 1, 0) + Math.max(0, column - 1);
    text.focus();
    text.setSelectionRange(at, at);
    text.scrollTop = Math.max(0, (line - 5) * 20);
  }

  function changed() {
    save.disabled = true;
    say(verdict, "");
    paintLines();
    clearTimeout(timer);
    timer = setTimeout(check, CHECK_AFTER_MS);
  }

  function press(which) {
    for (const button of list.children) {
      const pressed = button.dataset.name === which;
      button.setAttribute("aria-pressed", String(pressed));
      // On a phone not all of them are seen at once.
      if (pressed) button.scrollIntoView({ block: "nearest", inline: "center" });
    }
  }

  async function open(which) {
    press(which);
    put(faults);
    if (which === "") {
      name.value = "";
      text.value = NEW;
    } else {
      try {
        const said = await ask(`/v1/policies/${encodeURIComponent(which)}`, aborting.signal);
        name.value = which;
        text.value = said.toml;
      } catch (error) {
        if (error.name !== "AbortError") put(faults, h("li", { class: "told" }, error.message));
        return;
      }
    }
    changed();
  }

  async function refresh() {
    const { policies, default: by } = await ask("/v1/policies", aborting.signal);
    put(list, policies.map((of) => h("button", { type: "button", data: { name: of }, onclick: () => open(of) }, format.line(of, 40), of === by && h("small", { class: "note" }, " default"))), h("button", { type: "button", data: { name: "" }, onclick: () => open("") }, "+ new"));
    return by;
  }

  async function keep() {
    if (!/^[a-z0-9][a-z0-9._-]*$/i.test(name.value)) {
      put(faults, h("li", { class: "told" }, "A policy needs a name of letters, digits, dots and dashes."));
      return name.focus();
    }
    save.disabled = true;
    try {
      await send("PUT", `/v1/policies/${encodeURIComponent(name.value)}`, { toml: text.value }, aborting.signal);
      await refresh();
      press(name.value);
      say(verdict, `in force since ${format.clock(Date.now())}`);
    } catch (error) {
      if (error.name !== "AbortError") put(faults, h("li", { class: "told" }, error.message));
    }
  }

  text.addEventListener("input", changed);
  text.addEventListener("scroll", () => (lines.scrollTop = text.scrollTop));
  save.addEventListener("click", keep);
  refresh().then((by) => open(wanted ?? by), (error) => error.name === "AbortError" || put(faults, h("li", { class: "told" }, error.message)));
  return () => {
    aborting.abort();
    clearTimeout(timer);
  };
}
