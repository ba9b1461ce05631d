// The scripted upstream: HTTP/1.1 by hand over raw sockets, so that every byte, cut and ending is its own. The first
// segment of a path names the case, the rest the dialect. It serves the pages for Chromium too.

import { readFile } from "node:fs/promises";
import net from "node:net";
import path from "node:path";
import { setImmediate as turn, setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { DIALECTS } from "./answers.mjs";
import { RESUMED } from "./behaviours.mjs";

const ROOT = fileURLToPath(new URL("..", import.meta.url)).replace(/\/$/, "");

// What this upstream asks for; only tidegate knows it.
export const UPSTREAM_KEY = "upstream-key-that-no-client-has";

const FILE_TYPES = { ".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript" };

export class Upstream {
  #server = net.createServer({ noDelay: true }, (socket) => this.#serve(socket));
  #cases = new Map();

  // `clientKey` must never arrive here.
  async start(clientKey) {
    this.clientKey = clientKey;
    await new Promise((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    this.port = this.#server.address().port;
  }

  stop() {
    this.#server.close();
    for (const record of this.#cases.values()) record.sockets.forEach((socket) => socket.destroy());
  }

  // Announces a case; the record tells afterwards what was asked and when the sockets of unended answers closed.
  // A direct one comes without tidegate, and so with only one of the keys.
  expect(id, behaviour, { seed = 1, isDirect = false, method = "POST" } = {}) {
    const seen = { requests: [], problems: [], sockets: new Set(), closed: undefined };
    const record = { behaviour, seed, isDirect, method, ...seen };
    this.#cases.set(id, record);
    return record;
  }

  forget(id) {
    this.#cases.delete(id);
  }

  async #serve(socket) {
    socket.on("error", () => {});
    const reader = new Reader(socket);
    for (let request; (request = await reader.request());) {
      if (!(await this.#answer(request, socket).catch((error) => this.#broken(error, socket)))) return;
    }
  }

  #broken(error, socket) {
    console.error("upstream:", error);
    socket.destroy();
  }

  // Whether the connection goes on.
  async #answer(request, socket) {
    const url = new URL(request.target, "http://upstream");
    const cors = { "access-control-allow-origin": request.headers.origin ?? "*", vary: "origin" };
    if (request.method === "OPTIONS") {
      const allowed = { "access-control-allow-headers": request.headers["access-control-request-headers"] ?? "" };
      return plain(socket, { status: 204, headers: { ...cors, ...allowed } });
    }
    if (url.pathname.startsWith("/page/")) return plain(socket, await page(url.pathname.slice("/page/".length)));
    const [, id, rest] = /^\/([^/]+)(\/.*)$/.exec(url.pathname) ?? [];
    const record = this.#cases.get(id);
    const dialect = Object.values(DIALECTS).find((dialect) => dialect.path === rest);
    if (!record || !dialect) return plain(socket, { status: 404, body: `no case ${request.target}` });
    record.requests.push(request);
    const problem = this.#problem(request, dialect, record);
    if (problem) {
      record.problems.push(problem);
      return plain(socket, { status: 401, body: problem });
    }
    // The polyfill says it in the query.
    const lastEventId = request.headers["last-event-id"] ?? url.searchParams.get("lastEventId");
    return play(socket, record, dialect, { cors, from: Number(lastEventId) });
  }

  #problem(request, dialect, { isDirect, method }) {
    const { headers } = request;
    const keys = [headers.authorization === `Bearer ${UPSTREAM_KEY}`, headers["x-api-key"] === UPSTREAM_KEY];
    if (isDirect ? !keys.includes(true) : keys.includes(false)) return `the upstream's keys are not there: ${keys}`;
    if (JSON.stringify([request.target, headers]).includes(this.clientKey)) return "the client's key came through";
    if (request.method !== method) return `${request.method} instead of ${method}`;
    const mustAsk = method === "POST" && !dialect.isBare;
    if (mustAsk && JSON.parse(request.body).stream !== true) return "the body asks for no stream";
    return undefined;
  }
}

async function play(socket, record, dialect, { cors, from }) {
  const first = record.requests.length === 1;
  const behaviour = from ? RESUMED : record.behaviour;
  const instead = behaviour.answer ?? (first ? behaviour.first : undefined);
  if (instead)
    return plain(socket, { ...instead, body: instead.body(dialect), headers: { ...cors, ...instead.headers } });
  const style = { ids: dialect.hasIds, ...dialect.style, ...behaviour.style };
  const answer = { dialect, style, from, seed: record.seed };
  const framing = { "content-type": dialect.mediaType, "transfer-encoding": "chunked" };
  socket.write(head(200, { ...cors, ...dialect.headers, ...framing }));
  record.sockets.add(socket);
  const leave = () => (record.closed ??= Date.now());
  socket.once("close", leave);
  for await (const step of behaviour.play(answer)) {
    if (socket.destroyed) return false;
    if (step === 0) await turn();
    else if (typeof step === "number") await sleep(step);
    else socket.write(Buffer.concat([Buffer.from(`${step.length.toString(16)}\r\n`), step, Buffer.from("\r\n")]));
  }
  if (behaviour.end === "never") return false;
  socket.off("close", leave);
  record.sockets.delete(socket);
  if (behaviour.end === "fin") socket.end();
  else if (behaviour.end === "rst") socket.resetAndDestroy();
  else socket.write("0\r\n\r\n");
  return behaviour.end === "clean";
}

function plain(socket, { status = 200, mediaType = "text/plain", headers = {}, body = "" }) {
  const bytes = Buffer.from(body);
  const length = status === 204 ? {} : { "content-type": mediaType, "content-length": bytes.length };
  socket.write(Buffer.concat([Buffer.from(head(status, { ...length, ...headers })), bytes]));
  return true;
}

function head(status, headers) {
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return `HTTP/1.1 ${status} ${status}\r\n${lines.join("")}\r\n`;
}

// A file of this folder, for Chromium. Modules of packages may be named without their ".js".
async function page(name) {
  const file = path.resolve(ROOT, name);
  if (!file.startsWith(`${ROOT}${path.sep}`)) return { status: 404 };
  for (const candidate of [file, `${file}.js`]) {
    const body = await readFile(candidate).catch(() => undefined);
    if (body) return { mediaType: FILE_TYPES[path.extname(candidate)] ?? "text/plain", body };
  }
  return { status: 404 };
}

// Requests from a socket, one after the other. Bodies must have a Content-Length: all clients here send one.
class Reader {
  #pending = Buffer.alloc(0);
  #ended = false;
  #wake = () => {};

  constructor(socket) {
    // Flowing, so that the end of a connection is seen although nobody waits for a request.
    socket.on("data", (bytes) => {
      this.#pending = Buffer.concat([this.#pending, bytes]);
      this.#wake();
    });
    socket.on("close", () => {
      this.#ended = true;
      this.#wake();
    });
  }

  async request() {
    let end;
    while ((end = this.#pending.indexOf("\r\n\r\n")) < 0) {
      if (!(await this.#more())) return undefined;
    }
    const [line, ...fields] = this.#pending.subarray(0, end).toString("latin1").split("\r\n");
    const [method, target] = line.split(" ");
    const headers = Object.fromEntries(
      fields.map((field) => [field.split(":", 1)[0].toLowerCase(), field.slice(field.indexOf(":") + 1).trim()]),
    );
    if (headers["transfer-encoding"]) throw new Error(`${target}: a body without Content-Length`);
    const length = Number(headers["content-length"] ?? 0);
    this.#pending = this.#pending.subarray(end + 4);
    while (this.#pending.length < length) {
      if (!(await this.#more())) return undefined;
    }
    const body = this.#pending.subarray(0, length).toString();
    this.#pending = this.#pending.subarray(length);
    return { method, target, headers, body };
  }

  async #more() {
    if (this.#ended) return false;
    await new Promise((resolve) => (this.#wake = resolve));
    return !this.#ended;
  }
}
