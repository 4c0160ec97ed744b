// Stands for a scheduler of a large fleet: the files of the console, and events of boards that nobody has. It places nothing; it
// is there so that a browser may be measured with what a page of a real fleet gets.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../scheduler/door/console/", import.meta.url));
const TYPES = { html: "text/html; charset=utf-8", css: "text/css; charset=utf-8", js: "text/javascript; charset=utf-8", svg: "image/svg+xml" };
const MODELS = ["a", "b", "c", "d", "e"].map((letter) => `sha256:${letter.repeat(64)}`);

/** Messages of one invocation. */
const TURNS = 3;

/** The same numbers each time. */
function chance(seed) {
  let state = seed;
  return () => ((state = (state * 1664525 + 1013904223) >>> 0) / 2 ** 32);
}

const LEVELS = ["off", "low-mode"];

/** What a plan tells of a board: one in ten rests, and one in twenty is on its way to another mode. */
function planned(number) {
  const modes = ["7W", "15W", "25W", "MAXN"].map((mode, at) => ({ mode, watts: 2.6 + 0.1 * at, watts_assumed: true, at_work: 0.1, request_ms: 9000 - 1500 * at, of_targets: 0.9 - 0.1 * at, suffices: true }));
  const parked = number % 10 === 3 ? { level: LEVELS[number % 2], stage: "rests", unix_seconds: 1_790_000_000, wakes: false, wake_ms: 60_000 } : null;
  return { says: null, wish: null, wished_unix_seconds: null, due_unix_seconds: null, saves: null, changes_to: number % 20 === 7 ? "7W" : null, requests_per_hour: 12.5, modes, parked, failure: null, barred_unix_seconds: null };
}

function board(number, random) {
  const resident = MODELS[number % MODELS.length];
  return {
    name: `board-${number}`, class: number % 3 ? "pi5-8g" : "orin-nano-8g", state: "ready", emulated: false, mode: number % 3 ? "performance" : "MAXN",
    labels: { room: `r${number % 7}` }, memory: { total_bytes: 8e9, free_bytes: 3e9 + 1e9 * random() }, disk_free_bytes: 2e10, slots: 4, running: 0,
    models: [{ name: "model", digest: resident, quantization: "q4_k_m", bytes: 8e8, pinned: false, resident: { state: "ready", point: { mode: "MAXN" }, slots: 4, running: 0, queued: 0, memory_bytes: 1.2e9, cells: 4096, used_cells: 100 } }],
    health: { thermal: "cool", temperature_c: 45, on_battery: false, battery_percent: null, watts: 6, stalled_ms: 0 }, build: "bench", plan: planned(number),
    ...(number % 10 === 3 ? { state: "parked" } : number % 20 === 7 ? { state: "draining" } : {}),
  };
}

/** As the scheduler serves it: styles and theme stand in the page. */
async function assembled() {
  const [page, base, views, theme] = await Promise.all(["index.html", "base.css", "views.css", "theme.js"].map((file) => readFile(ROOT + file, "utf8")));
  return page
    .replace('<link rel="stylesheet" href="base.css">', () => `<style>${base}${views}</style>`)
    .replace('<link rel="stylesheet" href="views.css">', "")
    .replace('<script src="theme.js"></script>', () => `<script>${theme}</script>`);
}

/** `boards` of them, `updates` messages a second, each with a board and an invocation that have changed. */
export async function scheduler({ boards = 500, updates = 50 } = {}) {
  const random = chance(7);
  const nodes = Array.from({ length: boards }, (_, number) => board(number, random));
  const invocations = new Map();
  let sent = 0;

  function change() {
    sent += 1;
    const node = nodes[Math.floor(random() * boards)];
    node.running = node.state === "parked" ? 0 : Math.floor(random() * 5);
    node.health.watts = 4 + 8 * random();
    node.health.temperature_c = 40 + 40 * random();
    // Three hundred at a time; each ends when it has said enough, and another one begins.
    const number = Math.floor(sent / (300 * TURNS)) * 300 + (sent % 300);
    const id = `i${String(number).padStart(25, "a")}`;
    const before = invocations.get(id);
    const tokens = (before?.tokens ?? 0) + 7;
    const invocation = { id, tenant: "t", pipeline: "chat", model: "m", policy: "balanced", state: tokens < 7 * TURNS ? "running" : "done", submitted_unix_ms: before?.submitted_unix_ms ?? Date.now() - 4000, first_token_ms: 400, ended_ms: tokens < 7 * TURNS ? null : 9000, tokens, attempts: [{ number: 0, node: node.name, point: null, model: MODELS[0], predicted: null, after_ms: 2 }], error: null, usage: null };
    invocations.set(id, invocation);
    return { fleet: { fleet: "bench", nodes_known: boards, nodes_connected: boards, running: sent, queued: 0, policies: [], default_policy: "" }, nodes: [node], invocations: [invocation] };
  }

  const streams = new Set();
  let due = performance.now();
  const timer = setInterval(() => {
    for (; due < performance.now(); due += 1000 / updates) {
      if (streams.size === 0) continue;
      const data = `event: change\ndata: ${JSON.stringify(change())}\n\n`;
      for (const stream of streams) stream.write(data);
    }
  }, 5);

  const server = createServer(async (request, response) => {
    const path = new URL(request.url, "http://h").pathname;
    if (path === "/v1/events") {
      response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
      const models = MODELS.map((digest, number) => ({ alias: `model-${number}`, variants: [{ name: "", digest, bytes: 8e8, stored_on: boards, resident_on: boards }] }));
      response.write(`event: snapshot\ndata: ${JSON.stringify({ fleet: "bench", nodes, models, invocations: [...invocations.values()] })}\n\n`);
      streams.add(response);
      response.on("close", () => streams.delete(response));
      return;
    }
    if (path.startsWith("/v1/")) {
      response.writeHead(200, { "content-type": "application/json" });
      return response.end(JSON.stringify({ data: [], policies: [], default: "" }));
    }
    try {
      const file = path.replace(/^\/console\//, "") || "index.html";
      const bytes = file === "index.html" ? await assembled() : await readFile(ROOT + file);
      response.writeHead(200, { "content-type": TYPES[file.split(".").pop()], "cache-control": "no-cache" });
      response.end(bytes);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/console/`,
    sent: () => sent,
    close: () => {
      clearInterval(timer);
      server.closeAllConnections();
      server.close();
    },
  };
}
