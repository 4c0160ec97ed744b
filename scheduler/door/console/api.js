// What the page asks of the scheduler. The key of the session goes with each request in a header, never in a cookie: no other
// page can use it. It lives as long as the tab.

const SLOT = "dunlin-session";
const RETRY_FIRST_MS = 500;
const RETRY_MOST_MS = 10_000;
/** The scheduler says something at least every 15 s. */
const SILENCE_MS = 40_000;
const MAX_EVENT = 4 << 20;

export const session = {
  get key() {
    return sessionStorage.getItem(SLOT);
  },
  set key(key) {
    key ? sessionStorage.setItem(SLOT, key) : sessionStorage.removeItem(SLOT);
  },
};

/** An answer that is an error, in the words of the scheduler. */
export class Refused extends Error {
  constructor(status, message, retryAfter) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

function headers(more) {
  const key = session.key;
  return { ...(key ? { authorization: `Bearer ${key}` } : {}), ...more };
}

/** A request; its response, if it is no error. */
export async function request(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: headers(options.headers), cache: "no-store", redirect: "error" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The scheduler does not answer.");
  }
  if (response.ok) return response;
  throw await refusal(response);
}

async function refusal(response) {
  let message = `The scheduler answered ${response.status}.`;
  try {
    const said = await response.json();
    message = said.error?.message ?? said.message ?? message;
  } catch {
    // Not JSON: the status has to do.
  }
  if (response.status === 401) dispatchEvent(new CustomEvent("dunlin-unauthorized"));
  return new Refused(response.status, String(message), response.headers.get("retry-after"));
}

export async function ask(path, signal) {
  return (await request(path, { signal })).json();
}

export async function send(method, path, body, signal) {
  const response = await request(path, {
    method,
    body: JSON.stringify(body),
    headers: { "content-type": "application/json" },
    signal,
  });
  return response.status === 204 ? null : response.json();
}

/** The events of a response of type text/event-stream. */
export async function* events(response, heard = () => {}) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      heard();
      rest += value;
      const parts = rest.split(/\r?\n\r?\n/);
      rest = parts.pop();
      if (rest.length > MAX_EVENT) throw new Refused(0, "An event of the scheduler is too long.");
      for (const part of parts) {
        const event = parsed(part);
        if (event) yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parsed(part) {
  const event = { name: "message", id: null, data: "" };
  let any = false;
  for (const row of part.split(/\r?\n/)) {
    const at = row.indexOf(":");
    if (at <= 0) continue;
    const value = row.slice(at + 1).replace(/^ /, "");
    const field = row.slice(0, at);
    if (field === "data") {
      event.data += any ? `\n${value}` : value;
      any = true;
    } else if (field === "event") event.name = value;
    else if (field === "id") event.id = value;
  }
  return any ? event : null;
}

/**
 * Listens to the events of the fleet for as long as the page is there, and comes back when the scheduler does.
 * `on.event(name, data)`, `on.state("connecting" | "live" | "waiting", details)`.
 */
export function listen(path, on) {
  const controller = new AbortController();
  let tries = 0;
  let lastId = null;
  (async () => {
    while (!controller.signal.aborted) {
      on.state("connecting", { tries });
      let why = "The scheduler closed the stream.";
      const attempt = new AbortController();
      const end = () => attempt.abort();
      controller.signal.addEventListener("abort", end);
      let timer = setTimeout(end, SILENCE_MS);
      try {
        const more = lastId ? { "last-event-id": lastId } : {};
        const response = await request(path, { signal: attempt.signal, headers: { accept: "text/event-stream", ...more } });
        tries = 0;
        on.state("live", {});
        const heard = () => {
          clearTimeout(timer);
          timer = setTimeout(end, SILENCE_MS);
        };
        for await (const event of events(response, heard)) {
          if (event.id) lastId = event.id;
          on.event(event.name, JSON.parse(event.data));
        }
      } catch (error) {
        if (error.status === 401) return;
        why = error.name === "AbortError" ? "Nothing was heard for a while." : error.message;
      } finally {
        clearTimeout(timer);
        controller.signal.removeEventListener("abort", end);
      }
      if (controller.signal.aborted) return;
      // The first try is soon, later ones are apart, and no two pages come at once.
      const wait = Math.min(RETRY_MOST_MS, RETRY_FIRST_MS * 2 ** tries) * (0.75 + Math.random() / 2);
      tries += 1;
      await waiting(wait, why, on, controller.signal);
    }
  })();
  return () => controller.abort();
}

async function waiting(wait, why, on, signal) {
  const until = performance.now() + wait;
  while (!signal.aborted && performance.now() < until) {
    on.state("waiting", { why, seconds: Math.ceil((until - performance.now()) / 1000) });
    await new Promise((resolve) => setTimeout(resolve, Math.min(250, Math.max(10, until - performance.now()))));
  }
}
