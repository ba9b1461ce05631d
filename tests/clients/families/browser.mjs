// Chromium, in pages that tidegate serves.

import { chromium } from "playwright-core";

import { OPENAI_REQUEST } from "../harness/requests.mjs";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--ignore-certificate-errors",
];

let browser;
let context;

async function start({ chromium: executablePath }) {
  browser = await chromium.launch({ executablePath, headless: true, args: FLAGS });
  context = await browser.newContext({ ignoreHTTPSErrors: true });
}

async function stop() {
  await browser?.close();
}

// One page per client: pages cost more than all that happens in them, and a browser has only six connections per
// origin over HTTP/1.1.
const pages = new Map();

async function pageFor(name, origin) {
  if (!pages.has(name)) {
    const page = await context.newPage();
    await page.goto(`${origin}/page/families/browser/page.html`);
    await page.waitForFunction(() => window.run);
    pages.set(name, page);
  }
  return pages.get(name);
}

async function runInPage(name, inPage, call, origin) {
  const page = await pageFor(name, call.origins[origin]);
  const { base, key, collect, leave, request } = call;
  const given = { base, key, collect, leave, request };
  const result = await page.evaluate(([client, given]) => window.run(client, given), [inPage, given]);
  call.seen = result.seen;
  if (result.leftAt) call.left(result.leftAt);
  if (result.error) throw result.error;
}

function client(name, inPage, more = {}) {
  const isEventSource = inPage === "eventSource";
  return {
    name,
    dialect: isEventSource ? "generic" : "openai-chat",
    route: isEventSource ? "/stream" : "",
    start,
    stop,
    lanes: 1,
    run: (call) =>
      runInPage(name, inPage, Object.assign(call, { request: OPENAI_REQUEST }), more.page ?? more.listener ?? "plain"),
    ...more,
  };
}

export const clients = [
  client("EventSource, Chromium", "eventSource"),
  client("EventSource, Chromium, HTTP/2", "eventSource", { listener: "tls", version: "HTTP/2.0" }),
  client("EventSource, Chromium, unknown stream", "eventSource", { route: "" }),
  client("fetch reader, Chromium", "fetchReader"),
  client("fetch reader, Chromium, HTTP/2", "fetchReader", { listener: "tls", version: "HTTP/2.0" }),
  client("fetch reader, Chromium, other origin", "fetchReader", { listener: "other", page: "plain" }),
  client("fetchEventSource, Chromium", "fetchEventSource"),
];
