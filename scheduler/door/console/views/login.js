// Who is there: a key of the API says it.

import { ask, session } from "../api.js";
import { h, put } from "../dom.js";

export function show(main, done) {
  const told = h("p", { class: "told", role: "alert", hidden: true });
  const key = h("input", { id: "key", type: "password", autocomplete: "current-password", placeholder: "dk-...", spellcheck: "false", required: true });
  const button = h("button", { class: "main", type: "submit" }, "Log in");
  const form = h("form", { onsubmit: (event) => {
    event.preventDefault();
    enter(key.value.trim());
  } }, h("label", { for: "key" }, "API key"), h("div", { class: "row" }, key, button));
  put(main, h("div", { class: "sheet" },
    h("h1", {}, "Log in"),
    h("p", { class: "note" }, "The boards of this fleet: what runs where, how fast, at how many joules, and why there."),
    form, told,
    h("p", { class: "small note" }, h("code", {}, "dunlin console"), " prints a link that logs in; ", h("code", {}, "dunlin key new NAME"), " makes a key. It goes with each request, and is forgotten with this tab.")));
  key.focus();

  async function enter(given) {
    button.disabled = true;
    told.hidden = true;
    try {
      session.key = given;
      done(await ask("/v1/invocations?limit=1"));
    } catch (error) {
      told.hidden = false;
      session.key = null;
      told.textContent = error.message;
      button.disabled = false;
      key.focus();
    }
  }
}
