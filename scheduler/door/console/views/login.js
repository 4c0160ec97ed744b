// Who is there: a key of the API, or the code of a link that `dunlin console` printed.

import { session } from "../api.js";
import { h, put } from "../dom.js";

export function show(main, code, done) {
  const told = h("p", { class: "told", role: "alert", hidden: true });
  const key = h("input", { id: "key", type: "password", autocomplete: "current-password", placeholder: "dk_...", spellcheck: "false", required: true });
  const button = h("button", { class: "main", type: "submit" }, "Log in");
  const form = h("form", { onsubmit: (event) => {
    event.preventDefault();
    enter({ key: key.value.trim() });
  } }, h("label", { for: "key" }, "API key"), h("div", { class: "row" }, key, button));
  put(main, h("div", { class: "sheet" },
    h("h1", {}, "A flock of boards"),
    h("p", { class: "note" }, "What runs where, how fast, at how many joules, and why there."),
    form, told,
    h("p", { class: "small faint" }, "Or type ", h("code", {}, "dunlin console"), " where you are logged in to the fleet: it opens this page for you.")));
  if (code) enter({ code });
  else key.focus();

  async function enter(credential) {
    button.disabled = true;
    told.hidden = true;
    try {
      const response = await fetch("/console/api/session", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(credential), cache: "no-store" });
      const said = await response.json().catch(() => ({}));
      if (!response.ok) throw new Error(said.error?.message ?? `The scheduler answered ${response.status}.`);
      session.key = said.key;
      done();
    } catch (error) {
      told.hidden = false;
      told.textContent = error instanceof TypeError ? "The scheduler does not answer." : error.message;
      button.disabled = false;
      key.focus();
    }
  }
}
