// The console in a real browser, against a running fleet of two: by a link that logs in, each view in light and dark, on a desktop
// and on a phone; names, labels and answers that would like to be markup; and a board that dies in view, and a scheduler that goes and
// comes back, which whoever runs this sees to when it is told.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const [link, folder, pictures] = process.argv.slice(2);
const { chromium } = createRequire(`${folder}/`)("playwright-core");
const browser = await chromium.launch({ executablePath: process.env.DUNLIN_CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox"] });
const base = link.split("#")[0];
const wrong = [];
const PATIENCE = 60_000;

async function open(scheme, viewport, name) {
  const context = await browser.newContext({ colorScheme: scheme, viewport });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  // Of the browser: what throws, what the content security policy stops, what is not there.
  page.on("console", (message) => message.type() === "error" && wrong.push(`${name}: ${message.text()}`));
  page.on("pageerror", (error) => wrong.push(`${name}: ${error.message}`));
  page.on("response", (response) => response.status() >= 400 && wrong.push(`${name}: ${response.status()} ${response.url()}`));
  await page.goto(link);
  await page.waitForSelector(".tile:nth-child(2)");
  assert.ok(!page.url().includes("dk-"), "the key stays in the address");
  const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
  console.error(`${name}: first paint after ${Math.round(paint)} ms`);
  return page;
}

async function look(page, name, view, ready) {
  await page.goto(`${base}#/${view}`);
  await page.waitForSelector(ready);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wide <= 0, `${name}: ${view} is too wide by ${wide}`);
  const sideways = page.locator("main h1").first();
  assert.ok(await sideways.isVisible(), `${name}: ${view} has no heading`);
  if (pictures) await page.screenshot({ path: `${pictures}/${name}-${view.split("/")[0]}.png` });
}

async function chat(page) {
  await page.goto(`${base}#/chat`);
  await page.waitForSelector("#model option[value=demo]", { state: "attached" });
  await page.selectOption("#model", "demo");
  await page.fill("#most", "12");
  await page.fill("textarea", "sshd: <img src=x onerror='document.title=1'> <b>failed</b>");
  await page.keyboard.press("Enter");
  await page.waitForSelector(".turn .foot a");
  const turns = await page.locator(".turn").count();
  assert.equal(turns, 2);
  assert.equal(await page.locator(".turn img, .turn b").count(), 0, "text became markup");
  assert.match(await page.locator(".turn .foot").last().innerText(), /TTFT .* (ms|s)/);
  await page.locator(".turn .foot a").last().click();
  await page.waitForSelector("tr.chosen");
  await page.waitForSelector("tr.actual");
}

const EVIL = "<img src=x onerror='document.title=7'><script>document.title=7</script><b>bold</b>";

/** Wherever somebody else chose a text, it is text. */
async function noMarkup(page, where) {
  assert.equal(await page.locator("main img, main script, main b:not([class]):has-text('bold'), #drawer img, #drawer script, #pulse img").count(), 0, `${where}: text became markup`);
  assert.ok(!(await page.title()).includes("7"), `${where}: a text was run`);
}

/** The label and the alias that the fleet was given, and an answer, are as hostile as it gets. */
async function hostile(page) {
  await page.goto(`${base}#/models`);
  await page.waitForSelector("main :text('onerror')");
  await noMarkup(page, "models");
  await page.goto(`${base}#/fleet`);
  await page.locator('.tile:has-text("pi")').click();
  await page.waitForSelector("#drawer :text('onerror')");
  await noMarkup(page, "a board");
  await page.keyboard.press("Escape");
  const chunk = (delta, finish = null) => `data: ${JSON.stringify({ id: "chatcmpl-x", choices: [{ index: 0, delta, finish_reason: finish }] })}\n\n`;
  await page.route("**/v1/chat/completions", (route) => route.fulfill({
    contentType: "text/event-stream",
    body: `${chunk({ content: EVIL })}${chunk({}, "stop")}data: ${JSON.stringify({ id: "chatcmpl-x", choices: [], usage: { completion_tokens: 3 }, dunlin: { node: EVIL, point: { mode: EVIL } } })}\n\ndata: [DONE]\n\n`,
  }));
  await page.goto(`${base}#/chat`);
  await page.waitForSelector("#model option[value=demo]", { state: "attached" });
  await page.fill("textarea", EVIL);
  await page.keyboard.press("Enter");
  await page.waitForSelector(".turn .foot a");
  assert.ok((await page.locator(".turn .text").last().innerText()).includes("<script>document.title=7</script>"), "the answer is not shown as it is");
  await noMarkup(page, "an answer");
  await page.unroute("**/v1/chat/completions");
  await page.locator("button:has-text('New chat')").click();
}

/** A board is put to rest and woken by keys alone; what it shows while figures come in stays where it is. */
async function park(page) {
  await page.goto(`${base}#/fleet`);
  await page.locator('.tile:has-text("pi")').focus();
  await page.keyboard.press("Enter");
  await page.waitForSelector("#drawer .operate");
  await page.keyboard.press("Tab");
  await page.keyboard.type("in");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.waitForSelector('.tile[data-rest="rests"] .sign[data-rest="rests"]', { state: "attached" });
  await page.waitForSelector("#drawer .told.calm:has-text('At rest')");
  assert.match(await page.locator('.tile[data-rest="rests"] .kind').innerText(), /^rests in /);
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Wake", "who came by keyboard is left nowhere");
  if (pictures) await page.screenshot({ path: `${pictures}/desk-light-parked.png` });
  // The answer to the order has come.
  await page.waitForSelector("#drawer .operate button.main[aria-disabled=false]");
  await page.keyboard.press("Enter");
  await page.waitForSelector('.tile:has-text("pi")[data-rest=""]', { state: "attached" });
  await page.waitForSelector("#drawer .operate button[type=submit]:not([hidden])");
  await page.keyboard.press("Escape");
  await page.waitForSelector(".log li:has-text('pi is awake')");
}

/** The page of a board, as wide as it may be. */
async function board(page, name) {
  await page.goto(`${base}#/fleet`);
  await page.locator('.tile:has-text("pi")').click();
  await page.waitForSelector("#drawer .plan");
  const wide = await page.evaluate(() => document.querySelector("#drawer .card").scrollWidth - document.querySelector("#drawer .card").clientWidth);
  assert.ok(wide <= 0, `${name}: the page of a board is too wide by ${wide}`);
  if (pictures) await page.screenshot({ path: `${pictures}/${name}-board.png` });
  await page.keyboard.press("Escape");
}

const desk = await open("light", { width: 1440, height: 900 }, "desk-light");
await hostile(desk);
await park(desk);
await chat(desk);
const views = [
  ["fleet", ".tile"], ["invocations", "main tbody tr"], ["models", "main table"], ["costs", "main h1"],
  ["policies", ".desk .list button"], ["pipelines", "main tbody tr"], ["chat", "#model option"],
].map(([view, ready]) => [view, ready === "#model option" ? "textarea" : ready]);
const shapes = [
  [desk, "desk-light"], [await open("dark", { width: 1440, height: 900 }, "desk-dark"), "desk-dark"],
  [await open("light", { width: 390, height: 844 }, "phone-light"), "phone-light"],
  [await open("dark", { width: 390, height: 844 }, "phone-dark"), "phone-dark"],
];
for (const [page, name] of shapes) {
  for (const [view, ready] of views) await look(page, name, view, ready);
  await board(page, name);
}

// By keyboard: the views by their numbers, a board by Enter, back by Escape.
await desk.goto(`${base}#/chat`);
await desk.locator("body").click({ position: { x: 5, y: 5 } });
await desk.keyboard.press("1");
await desk.waitForSelector(".tile");
await desk.locator(".tile").first().focus();
await desk.keyboard.press("ArrowRight");
await desk.keyboard.press("Enter");
await desk.waitForSelector("#drawer:not([hidden]) h1");
await desk.keyboard.press("Escape");
await desk.waitForSelector("#drawer", { state: "hidden" });

console.error("now a board may die");
await desk.waitForSelector('.tile[data-state="gone"]');
await desk.waitForSelector(".log .bad");
if (pictures) await desk.screenshot({ path: `${pictures}/desk-light-gone.png` });

console.error("now the scheduler may go");
await desk.waitForSelector('#link[data-state="waiting"]');
if (pictures) await desk.screenshot({ path: `${pictures}/desk-light-waiting.png` });
console.error("now the scheduler may come back");
await desk.waitForSelector('#link[data-state="live"]');
await desk.waitForSelector(".tile");
// What is refused while it is away is no fault of the page.
assert.deepEqual(wrong.filter((text) => !/ERR_|Failed to load/.test(text)), []);
console.error("the console is well");
await browser.close();
