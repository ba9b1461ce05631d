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
  "--host-resolver-rules=MAP *.localhost 127.0.0.1",
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

// One page per client, since pages cost more than all that happens in them; each with a host name of its own, since a
// browser has only six connections per origin over HTTP/1.1.
const pages = new Map();
const CONNECTIONS = 5;

async function open(origin) {
  const page = await context.newPage();
  await page.goto(`${origin}/page/families/browser/page.html`);
  await page.waitForFunction(() => window.run);
  return page;
}

async function runInPage(name, inPage, call, origin) {
  const host = `${name.toLowerCase().replace(/[^a-z0-9]+/g, "-")}.localhost`;
  const named = call.origins[origin].replace("127.0.0.1", host);
  if (!pages.has(name)) pages.set(name, open(named));
  const page = await pages.get(name);
  const { path, dialect, key, collect, leave, request } = call;
  const base = call.base.replace(`${call.origins[origin]}/`, `${named}/`);
  const given = { base, path, dialect, key, collect, leave, request };
  const result = await page.evaluate(([client, given]) => window.run(client, given), [inPage, given]);
  call.seen = result.seen;
  if (result.leftAt) call.left(result.leftAt);
  if (result.error) throw result.error;
}

const ASKS = { dialect: "generic", method: "GET", route: "/stream", unfinished: "asks again" };

function client(name, inPage, more = {}) {
  return {
    name,
    dialect: "openai-chat",
    route: "",
    start,
    stop,
    lanes: CONNECTIONS,
    ...(["eventSource", "polyfill"].includes(inPage) ? ASKS : {}),
    run: (call) =>
      runInPage(name, inPage, Object.assign(call, { request: OPENAI_REQUEST }), more.page ?? more.listener ?? "plain"),
    ...more,
  };
}

const HTTP2 = { listener: "tls", version: "HTTP/2.0", lanes: 20 };

export const clients = [
  client("EventSource, Chromium", "eventSource", { speaksAll: true }),
  client("EventSource, Chromium, HTTP/2", "eventSource", { ...HTTP2, speaksAll: true }),
  client("EventSource, Chromium, unknown stream", "eventSource", { route: "", isVariant: true }),
  client("EventSourcePolyfill, Chromium", "polyfill", { speaksAll: true }),
  client("fetch reader, Chromium", "fetchReader", { speaksAll: true }),
  client("fetch reader, Chromium, HTTP/2", "fetchReader", { ...HTTP2, speaksAll: true }),
  client("fetch reader, Chromium, other origin", "fetchReader", { listener: "other", page: "plain", isVariant: true }),
  client("fetchEventSource, Chromium", "fetchEventSource", { speaksAll: true }),
];
