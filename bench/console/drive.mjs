// The console in a browser, with more boards than anybody has: how long until something is painted, how long frames take while
// fifty messages a second come, and whether what came is shown. `./x bench console`.
import { createRequire } from "node:module";
import { scheduler } from "./scheduler.mjs";

const options = Object.fromEntries(process.argv.slice(2).map((word) => word.replace(/^--/, "").split("=")));
const { clients, boards = 500, updates = 50, seconds = 10, loads = 9, pictures } = options;
const url = options.url;
const { chromium } = createRequire(`${clients}/`)("playwright-core");
const browser = await chromium.launch({ executablePath: process.env.DUNLIN_CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
const fleet = url ? null : await scheduler({ boards: Number(boards), updates: Number(updates) });
const address = url ?? fleet.url;
const misses = [];

function tell(what, asked, value, unit) {
  const holds = value <= asked;
  if (!holds) misses.push(what);
  console.log(`${holds ? "ok  " : "MISS"}  ${what.padEnd(58)} <= ${String(asked).padStart(5)} ${unit}   ${value.toFixed(1).padStart(8)} ${unit}`);
}

const sorted = (values) => [...values].sort((a, b) => a - b);
const quantile = (values, share) => sorted(values)[Math.min(values.length - 1, Math.round((values.length - 1) * share))] ?? 0;

/** Of the browser's own clock, from the start of the navigation; nothing is cached. */
async function firstPaint() {
  const context = await browser.newContext();
  const page = await context.newPage();
  const bodies = [];
  page.on("response", (response) => {
    if (new URL(response.url()).pathname.startsWith("/console/")) bodies.push(response.body().catch(() => Buffer.alloc(0)));
  });
  await page.goto(address);
  await page.waitForSelector(".tile, .empty:not([hidden]), .view-login form");
  const paints = await page.evaluate(() => Object.fromEntries(performance.getEntriesByType("paint").map(({ name, startTime }) => [name, startTime])));
  const content = await page.evaluate(() => performance.now());
  const bytes = (await Promise.all(bodies)).reduce((sum, body) => sum + body.length, 0);
  await context.close();
  return { first: paints["first-contentful-paint"] ?? paints["first-paint"] ?? content, content, bytes };
}

async function frames(page) {
  return page.evaluate(async (ms) => {
    const tasks = [];
    new PerformanceObserver((list) => tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: "longtask" });
    const times = [];
    const until = performance.now() + ms;
    await new Promise((resolve) => {
      let before = performance.now();
      const step = (now) => {
        times.push(now - before);
        before = now;
        now < until ? requestAnimationFrame(step) : resolve();
      };
      requestAnimationFrame(step);
    });
    return { times: times.slice(1), tasks };
  }, seconds * 1000);
}

// The first load starts the processes of the browser.
await firstPaint();
const paints = [];
for (let load = 0; load < loads; load += 1) paints.push(await firstPaint());
tell(`first paint, median of ${loads} loads without a cache`, 300, quantile(paints.map(({ first }) => first), 0.5), "ms");
console.log(`      slowest ${quantile(paints.map(({ first }) => first), 1).toFixed(0)} ms; boards are there after ${quantile(paints.map(({ content }) => content), 0.5).toFixed(0)} ms; the first view takes ${(paints[0].bytes / 1000).toFixed(0)} kB`);

if (fleet) {
  for (const view of ["fleet", "invocations"]) {
    const context = await browser.newContext({ viewport: { width: 1360, height: 850 } });
    const page = await context.newPage();
    await page.goto(`${address}#/${view}`);
    await page.waitForSelector(view === "fleet" ? `.tile:nth-child(${boards})` : "main tbody tr");
    const before = fleet.sent();
    const { times, tasks } = await frames(page);
    const name = `${boards} boards, ${((fleet.sent() - before) / seconds).toFixed(0)} messages/s, ${view}`;
    tell(`${name}: frame, p95`, 34, quantile(times, 0.95), "ms");
    tell(`${name}: time in tasks over 50 ms`, 5, (tasks.reduce((sum, task) => sum + task, 0) / (seconds * 10)), "%");
    console.log(`      ${times.length} frames: median ${quantile(times, 0.5).toFixed(1)} ms, p99 ${quantile(times, 0.99).toFixed(1)} ms; ${tasks.length} long tasks, the longest ${Math.max(0, ...tasks).toFixed(0)} ms`);
    if (pictures) await page.screenshot({ path: `${pictures}/many-${view}.png` });
    await context.close();
  }
  fleet.close();
}
await browser.close();
process.exitCode = misses.length > 0 && options.strict !== "no" ? 1 : 0;
