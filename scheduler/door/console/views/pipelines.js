// Pipelines: which there are, and a place to drop a new one.

import { ask, session } from "../api.js";
import { h, put } from "../dom.js";
import * as format from "../format.js";

/** What a component begins with; a core module differs in the second half. */
const COMPONENT = [0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0];

export function show(main) {
  const body = h("div");
  const told = h("div", { role: "status", "aria-live": "polite" });
  const input = h("input", { type: "file", accept: ".wasm,application/wasm", class: "unseen", id: "file", onchange: () => take(input.files[0]) });
  const drop = h("div", { class: "drop" }, h("h2", {}, "Drop a pipeline here"), h("p", { class: "note" }, "a WebAssembly component, as ", h("code", {}, "dunlin build"), " makes it"), input, h("button", { type: "button", onclick: () => input.click() }, "Choose a file"), told);
  put(main, h("div", { class: "head" }, h("h1", {}, "Pipelines")), drop, body);
  const aborting = new AbortController();
  const over = (event) => {
    event.preventDefault();
    drop.classList.add("over");
  };
  const away = () => drop.classList.remove("over");
  const dropped = (event) => {
    event.preventDefault();
    away();
    take(event.dataTransfer?.files[0]);
  };
  const on = [["dragover", over], ["dragleave", away], ["drop", dropped]];
  on.forEach(([name, then]) => addEventListener(name, then));
  refresh();

  async function refresh() {
    try {
      const { data: pipelines } = await ask("/v1/pipelines", aborting.signal);
      put(body, h("section", { class: "sheet scroll" }, table(pipelines)));
    } catch (error) {
      if (error.name !== "AbortError") put(body, h("p", { class: "told" }, error.message));
    }
  }

  async function take(file) {
    input.value = "";
    if (!file) return;
    const first = new Uint8Array(await file.slice(0, 8).arrayBuffer());
    if (COMPONENT.some((byte, index) => first[index] !== byte)) {
      const core = first[1] === 0x61 && first[4] === 1;
      return put(told, h("p", { class: "told" }, core ? `${format.line(file.name, 60)} is a core module. A fleet runs components: dunlin build makes one.` : `${format.line(file.name, 60)} is no WebAssembly component.`));
    }
    const name = h("input", { value: file.name.replace(/\.wasm$/i, "").replace(/[^a-z0-9._-]+/gi, "-").toLowerCase(), spellcheck: "false", required: true, pattern: "[A-Za-z0-9][A-Za-z0-9._\\-]*", maxlength: "64" });
    const button = h("button", { class: "main" }, `Deploy ${format.bytes(file.size)}`);
    put(told, h("form", { onsubmit: (event) => {
      event.preventDefault();
      deploy(file, name.value, told);
    } }, h("label", {}, "Name", name), button));
    name.focus();
    name.select();
  }

  async function deploy(file, name) {
    const bar = h("progress", { max: "1", value: "0" });
    put(told, h("p", {}, bar));
    try {
      await upload(`/v1/pipelines/${encodeURIComponent(name)}`, file, bar, aborting.signal);
      put(told, h("p", { class: "good" }, `${name} is deployed. `), h("p", {}, h("code", {}, `dunlin invoke ${name} --text "..."`)));
      refresh();
    } catch (error) {
      put(told, h("p", { class: "told" }, error.message));
    }
  }

  return () => {
    aborting.abort();
    on.forEach(([name, then]) => removeEventListener(name, then));
  };
}

/** By the older interface: the newer one does not say how far an upload is. */
function upload(path, file, bar, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    signal.addEventListener("abort", () => request.abort());
    request.upload.onprogress = ({ loaded, total }) => (bar.value = loaded / total);
    request.onerror = () => reject(new Error("The connection was lost on the way."));
    request.onload = () => {
      if (request.status < 300) return resolve();
      let message = `The scheduler answered ${request.status}.`;
      try {
        message = JSON.parse(request.responseText).error.message;
      } catch {
        // The status has to do.
      }
      reject(new Error(message));
    };
    request.open("PUT", path);
    request.setRequestHeader("content-type", "application/wasm");
    if (session.key) request.setRequestHeader("authorization", `Bearer ${session.key}`);
    request.send(file);
  });
}

function table(pipelines) {
  return h("table", { class: "pipelines" }, h("thead", {}, h("tr", {}, ["Name", "What it does", "Component"].map((text) => h("th", {}, text)))),
    h("tbody", {}, pipelines.map(({ name, description, component }) => h("tr", {}, h("td", {}, format.line(name, 60)), h("td", { class: "note" }, format.line(description, 160) || "–"), h("td", {}, component ? h("code", { title: component }, format.short(String(component).replace(/^\w+:/, ""))) : "comes with Dunlin")))));
}
