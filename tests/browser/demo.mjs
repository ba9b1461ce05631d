// The page of `tidegate demo` in headless Chromium: what it says must be true, in both languages and themes, on a
// phone and on a desk. Usage: node demo.mjs BINARY [--screenshots DIRECTORY]
//
// With TIDEGATE_TEST_TAKEOVER=off in the environment, a second tidegate with that position of `server.takeover` stands in
// front of the messy server, and the page is seen through it, in one of its looks.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const DEADLINE = 20_000;
const PHONE = { width: 390, height: 844 };
const DESK = { width: 1440, height: 900 };
const SMALL = { width: 360, height: 640 };

// What the verdicts must say.
const EXPECTED = {
  chat: { raw: { en: /^Destroyed/, zh: /^毁了/ }, fixed: { en: /^Intact/, zh: /^完好/ } },
  ollama: { raw: { en: /^Destroyed/, zh: /^毁了/ }, fixed: { en: /^Intact/, zh: /^完好/ } },
  slow: {
    raw: { en: /^4\.\d s of dead silence/, zh: /^死寂 4\.\d 秒/ },
    fixed: { en: /[34] heartbeats/, zh: /[34] 次心跳/ },
  },
  truncated: {
    raw: { en: /looks complete/, zh: /看起来是完整的/ },
    fixed: { en: /told.*ended before/, zh: /得知.*ended before/ },
  },
  error: {
    raw: { en: /never saw it/, zh: /毫不知情/ },
    fixed: { en: /told.*out of memory 💥/, zh: /得知.*显存不足 💥/ },
  },
};

// The position of `server.takeover` that is asked for, as of the other tests; the demo's own without.
const TAKEOVER = process.env.TIDEGATE_TEST_TAKEOVER;

// The end of tidegate's log.
let log = "";

// Starts tidegate; resolves to its address, what it said before, and how to end it.
async function run(binary, args, env = {}) {
  const child = spawn(binary, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...env } });
  process.once("exit", () => child.kill("SIGKILL"));
  child.stderr.setEncoding("utf8").on("data", (text) => { log = (log + text).slice(-8000); });
  const lines = [];
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line);
    const front = line.match(/ ready on (http:\S+)$/)?.[1];
    if (front) return { front, said: lines.join("\n"), stop: () => child.kill("SIGINT") };
  }
  throw new Error(`tidegate ${args[0]} ended before it was ready:\n${lines.join("\n")}\n${log}`);
}

// Starts the demo on free ports, and what is to stand in its place; resolves to the addresses.
async function start(binary) {
  const demo = await run(binary, ["demo", "--listen", "127.0.0.1:0"]);
  const [, key, raw] = demo.said.match(/DEMO_KEY=(\S+) tidegate --upstream (http:\S+)/);
  if (!TAKEOVER) return { front: demo.front, raw, stop: demo.stop };
  const dir = mkdtempSync(path.join(tmpdir(), "tidegate-browser-"));
  const file = path.join(dir, "config.toml");
  writeFileSync(file, config(raw));
  const { front, stop } = await run(binary, ["serve", "--config", file], { DEMO_KEY: key });
  rmSync(dir, { recursive: true });
  return { front, raw, stop: () => [stop, demo.stop].forEach((stop) => stop()) };
}

// As the demo has it.
const config = (raw) => `
[server]
takeover = "${TAKEOVER}"
[[listener]]
address = "127.0.0.1:0"
[upstream.messy]
url = "${raw}"
[[route]]
upstream = "messy"
inject = [{ bearer = "env:DEMO_KEY" }]
stream = { heartbeat = "1s" }
[timeouts]
drain = "0s"
`;

// A page that fails the test on anything that a careful user would see in the developer tools.
async function open(browser, { front, raw }, { language, theme, viewport, path = "/" }) {
  const context = await browser.newContext({
    locale: language === "zh" ? "zh-CN" : "en-GB",
    colorScheme: theme,
    viewport,
    deviceScaleFactor: viewport.width < 800 ? 2 : 1,
    permissions: ["clipboard-read", "clipboard-write"],
  });
  const page = await context.newPage();
  page.setDefaultTimeout(DEADLINE);
  const faults = [];
  const requests = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) faults.push(`console: ${message.text()}`);
  });
  page.on("pageerror", (error) => faults.push(`error: ${error.stack}`));
  page.on("request", (request) => {
    const known = [`${front}/`, `${raw}/`, `blob:${front}/`, "data:"].some((begin) => request.url().startsWith(begin));
    if (!known) faults.push(`request to ${request.url()}`);
    if (request.method() === "POST") requests.push(request.url());
  });
  await page.goto(front + path);
  return { page, faults, requests, close: () => context.close() };
}

const done = (page) =>
  Promise.all(["raw", "fixed"].map((side) => page.waitForSelector(`.screen.${side}[data-state="done"]`)));

const read = (page, side) =>
  page.$eval(`.screen.${side}`, (screen) => ({
    state: screen.querySelector(".verdict").dataset.state,
    verdict: screen.querySelector(".verdict").textContent,
    reply: screen.querySelector(".reply").textContent,
    counts: Object.fromEntries(
      Array.from(screen.querySelectorAll(".counts div"), (entry) => [entry.dataset.count, Number(entry.lastChild.textContent)]),
    ),
  }));

async function check(page, scenario, language) {
  await done(page);
  const expected = EXPECTED[scenario];
  let raw = await read(page, "raw");
  // On a machine that is too busy the browser itself puts pieces together again before anybody can see them.
  const isMess = () => raw.state === "bad" && raw.counts.cutCharacters > 0 && raw.counts.jsonErrors > 0;
  for (let again = 0; again < 3 && !isMess(); again += 1) {
    console.log(`again: ${scenario}, ${language}: too busy to see the mess`);
    await page.click("#again");
    await done(page);
    raw = await read(page, "raw");
  }
  const fixed = await read(page, "fixed");
  const where = `${scenario}, ${language}: ${JSON.stringify({ raw, fixed })}`;
  assert.equal(raw.state, "bad", where);
  assert.match(raw.verdict, expected.raw[language], where);
  assert.ok(raw.counts.jsonErrors > 0 && raw.counts.cutEvents > 0 && raw.counts.cutCharacters > 0, where);
  assert.match(await page.textContent(".wire.raw .chunks"), /\b[0-9A-F]{2}( [0-9A-F]{2})*\b/, where);
  assert.equal(fixed.state, "good", where);
  assert.match(fixed.verdict, expected.fixed[language], where);
  const { cutEvents, cutCharacters, jsonErrors } = fixed.counts;
  assert.deepEqual({ cutEvents, cutCharacters, jsonErrors }, { cutEvents: 0, cutCharacters: 0, jsonErrors: 0 }, where);
  assert.ok(fixed.counts.events > 10, where);
  assert.ok(!fixed.reply.includes("\ufffd") && fixed.reply.length > 15, where);
  // Direct and through tidegate: the same events, but for the unfinished one and the error in its stead.
  const difference = fixed.counts.events - raw.counts.events;
  assert.equal(difference, scenario === "truncated" ? 1 : 0, where);
}

// Nothing may stick out to the right, whatever is unfolded.
async function fits(page, what) {
  const [width, shown] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(width <= shown, `${what}: ${width} px wide on a screen of ${shown} px`);
}

// Text that is hard to read, by WCAG 2.2, 1.4.3.
const faint = (page) =>
  page.evaluate(() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (color) => {
      canvas.clearRect(0, 0, 1, 1);
      canvas.fillStyle = color;
      canvas.fillRect(0, 0, 1, 1);
      return Array.from(canvas.getImageData(0, 0, 1, 1).data);
    };
    const luminance = ([r, g, b]) =>
      [r, g, b].map((value) => value / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
        .reduce((sum, value, index) => sum + value * [0.2126, 0.7152, 0.0722][index], 0);
    const behind = (node) => {
      for (let at = node; at; at = at.parentElement) {
        const color = rgba(getComputedStyle(at).backgroundColor);
        if (color[3] === 255) return color;
      }
      return [255, 255, 255];
    };
    const texts = Array.from(document.querySelectorAll("body *")).filter((node) =>
      node.checkVisibility() && Array.from(node.childNodes).some((child) => child.nodeType === 3 && child.data.trim() !== ""));
    const faults = [];
    for (const node of texts) {
      const style = getComputedStyle(node);
      const isLarge = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
      const [one, two] = [luminance(rgba(style.color)), luminance(behind(node))];
      const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
      if (ratio * style.opacity < (isLarge ? 3 : 4.5)) faults.push(`${node.className || node.tagName} ${ratio.toFixed(2)}: ${node.textContent.slice(0, 30)}`);
    }
    return { texts: texts.length, faults: [...new Set(faults)] };
  });

async function everyScenario(browser, addresses, look) {
  const { page, faults, requests, close } = await open(browser, addresses, look);
  const what = `${look.language} ${look.theme} ${look.viewport.width}`;
  await check(page, "chat", look.language); // It plays by itself.
  for (const scenario of ["ollama", "slow", "truncated", "error", "chat"]) {
    await page.focus(`[data-scenario="${scenario}"]`);
    await page.keyboard.press("Enter");
    await check(page, scenario, look.language);
    await fits(page, `${what} ${scenario}`);
  }
  for (const summary of await page.$$("summary")) await summary.click();
  assert.match(await page.textContent("#code"), /new TextDecoder\(\)\.decode\(chunk\)/);
  await fits(page, `${what} unfolded`);
  const { texts, faults: pale } = await faint(page);
  assert.ok(texts > 100, `${what}: only ${texts} texts were seen`);
  assert.deepEqual(pale, [], what);
  await page.click(".command.fixed button");
  const copied = await page.evaluate(() => navigator.clipboard.readText());
  assert.match(copied, new RegExp(`^curl -N ${addresses.front}/v1/chat/completions `));
  assert.ok(!copied.includes("Authorization"));
  assert.deepEqual(faults, [], what);
  assert.ok(requests.length >= 12, `${what}: two requests for each of six plays, not ${requests.length}`);
  await close();
  console.log(`ok: ${what}`);
}

async function switches(browser, addresses) {
  const { page, faults, close } = await open(browser, addresses, { language: "en", theme: "light", viewport: SMALL });
  const background = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const light = await background();
  await page.click("#theme");
  assert.notEqual(await background(), light);
  await page.click("#language");
  assert.equal(await page.getAttribute("html", "lang"), "zh-CN");
  await check(page, "chat", "zh");
  await fits(page, "360 px");
  await page.reload();
  assert.equal(await page.getAttribute("html", "lang"), "zh-CN");
  assert.notEqual(await background(), light);
  assert.deepEqual(faults, []);
  await close();
  console.log("ok: switches, and 360 px");
}

// Pictures of the chat when it is over.
async function screenshots(browser, addresses, directory) {
  for (const { name, ...look } of PICTURES) {
    const { page, faults, close } = await open(browser, addresses, look);
    await check(page, "chat", look.language);
    await page.screenshot({ path: `${directory}/${name}.png` });
    assert.deepEqual(faults, []);
    await close();
  }
}

const PICTURES = [
  { name: "demo", language: "en", theme: "light", viewport: DESK },
  { name: "demo.zh-CN", language: "zh", theme: "light", viewport: DESK },
  { name: "demo-phone", language: "en", theme: "dark", viewport: PHONE },
  { name: "demo-phone.zh-CN", language: "zh", theme: "dark", viewport: PHONE },
];

// Every pair of language, theme and size.
const LOOKS = [
  { language: "en", theme: "light", viewport: PHONE },
  { language: "en", theme: "dark", viewport: DESK },
  { language: "zh", theme: "light", viewport: DESK },
  { language: "zh", theme: "dark", viewport: PHONE },
];

const [binary, flag, directory] = process.argv.slice(2);
if (!binary || (flag && (flag !== "--screenshots" || !directory))) {
  console.error("usage: node demo.mjs BINARY [--screenshots DIRECTORY]");
  process.exit(64);
}
const addresses = await start(binary);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync"],
});
try {
  if (flag) {
    await screenshots(browser, addresses, directory);
  } else {
    // How the page looks has nothing to do with the switch.
    for (const look of TAKEOVER ? LOOKS.slice(0, 1) : LOOKS) await everyScenario(browser, addresses, look);
    if (!TAKEOVER) await switches(browser, addresses);
    console.log(`server.takeover = "${TAKEOVER ?? "on"}"`);
  }
} catch (error) {
  console.error(`${error.stack}\n\nthe end of the log of tidegate:\n${log}`);
  process.exitCode = 1;
} finally {
  await browser.close();
  addresses.stop();
}
