// Mini-programs, emulated: the code runs in a context that has nothing but the language (no TextDecoder, no fetch),
// and its `request` cuts and glues what the socket reads at random, as devices do.

import http from "node:http";
import { readFileSync } from "node:fs";
import vm from "node:vm";

import { pieces, random } from "../harness/random.mjs";
import { BEHAVIOURS, RANDOM } from "../harness/behaviours.mjs";
import { DIALECTS } from "../harness/answers.mjs";
import { CALL_LANES, runCase } from "../harness/matrix.mjs";
import { OPENAI_REQUEST } from "../harness/requests.mjs";
import { CLIENT_KEY } from "../harness/tidegate.mjs";
import { UPSTREAM_KEY } from "../harness/upstream.mjs";

const source = (name) => readFileSync(new URL(`../snippets/${name}`, import.meta.url), "utf8");

// The snippets as a mini-program's bundler joins them.
export function load(names, globals = {}) {
  const code = names
    .map(source)
    .join("\n")
    .replace(/^import .*$/gm, "")
    .replace(/^export /gm, "");
  return vm.runInContext(`${code}\n;typeof chat === "function" ? chat : listen`, vm.createContext(globals));
}

const arrayBuffer = (bytes) => bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);

// wx.request and uni.request as far as streams need them. `isChunked` false is a host that calls nothing back
// before the end.
export function emulated({ seed, isChunked = true, recut = true }) {
  return {
    request({ url, method, header, data, success, fail }) {
      const listeners = [];
      const next = random(seed);
      const body = JSON.stringify(data);
      const headers = { ...header, "content-type": "application/json", "content-length": Buffer.byteLength(body) };
      let held = Buffer.alloc(0);
      const give = (bytes) => listeners.forEach((listener) => listener({ data: arrayBuffer(bytes) }));
      const pour = (isLast) => {
        // Now and then reads are held back, and so are glued to the next; what is given is cut anywhere.
        if (!isChunked || (!isLast && recut && next(3) === 0)) return;
        const all = held;
        held = Buffer.alloc(0);
        for (const piece of recut ? pieces(all, next, 1 + next(300)) : all.length ? [all] : []) give(piece);
      };
      const request = http.request(url, { method, headers, agent: false }, (response) => {
        response.on("data", (bytes) => {
          held = Buffer.concat([held, bytes]);
          pour(false);
        });
        response.on("end", () => {
          pour(true);
          success({ statusCode: response.statusCode, data: arrayBuffer(held) });
        });
        response.on("error", (error) => fail({ errMsg: `request:fail ${error.message}` }));
      });
      request.on("error", (error) => fail({ errMsg: `request:fail ${error.message}` }));
      request.end(body);
      return { onChunkReceived: (listener) => listeners.push(listener), abort: () => request.destroy() };
    },
  };
}

const chat = load(["sse.js", "miniprogram.js"]);

export function run(call, options) {
  return new Promise((done, fail) => {
    const url = `${call.base}/v1/chat/completions`;
    const task = chat({
      api: emulated(options),
      url,
      key: call.key,
      request: OPENAI_REQUEST,
      show: call.show,
      done,
      fail,
    });
    call.signal.addEventListener("abort", () => {
      task.abort();
      done();
    });
  });
}

export const clients = [
  { name: "wx.request, uni.request (emulated)", dialect: "openai-chat", run: (call) => run(call, { seed: call.seed }) },
  {
    name: "wx.request that reports at the end (emulated)",
    dialect: "openai-chat",
    run: (call) => run(call, { seed: call.seed, isChunked: false }),
  },
];

const RANDOM_STREAMS = 300;

// Any cuts by the upstream, any other cuts on the way to the program: not a character and not an event may suffer.
async function randomStreams(context) {
  const [client] = clients;
  const seeds = Array.from({ length: RANDOM_STREAMS }, (_, index) => context.seed + index);
  const wrong = [];
  const lane = async () => {
    for (let seed; (seed = seeds.pop()) !== undefined;) {
      const result = await runCase(client, RANDOM, { ...context, seed });
      const found = result.said === "whole" ? result.wrong : [result.said, ...result.wrong];
      wrong.push(...found.map((line) => `seed ${seed}: ${line}`));
    }
  };
  await Promise.all(Array.from({ length: CALL_LANES }, lane));
  return { line: `${RANDOM_STREAMS} random streams from seed ${context.seed}: ${wrong.length} wrong`, wrong };
}

const NAIVE_STREAMS = 20;
const NAIVE_ON = ["clean", "cut in events", "cut in characters", "glued by three"];

// Code as it is found in tutorials: each read is decoded and parsed for itself. What it loses is not asserted but
// told: in front of the upstream itself, and of tidegate, with reads as the socket has them.
function naive(url, header) {
  return new Promise((resolve, fail) => {
    const counts = { events: 0, broken: 0 };
    const task = emulated({ seed: 1, recut: false }).request({
      url,
      method: "POST",
      header,
      data: { ...OPENAI_REQUEST, stream: true },
      success: () => resolve(counts),
      fail: ({ errMsg }) => fail(new Error(errMsg)),
    });
    task.onChunkReceived(({ data }) => {
      const text = new TextDecoder().decode(data);
      counts.broken += text.split("\ufffd").length - 1;
      counts.events += isChunk(text) ? 1 : 0;
    });
  });
}

function isChunk(message) {
  try {
    return JSON.parse(message.replace(/^data:/, "")).object === "chat.completion.chunk";
  } catch {
    return false;
  }
}

async function naiveRate({ tidegate, upstream }, behaviour, isDirect) {
  const { path, events } = DIALECTS["openai-chat"];
  const [origin, key] = isDirect ? [`http://127.0.0.1:${upstream.port}`, UPSTREAM_KEY] : [tidegate.plain, CLIENT_KEY];
  const total = { events: 0, broken: 0 };
  for (let seed = 1; seed <= NAIVE_STREAMS; seed++) {
    const id = `naive.${isDirect ? "direct" : "through"}.${behaviour.name.replaceAll(" ", "-")}.${seed}`;
    upstream.expect(id, behaviour, { seed, isDirect });
    const { events, broken } = await naive(`${origin}/${id}${path}`, { authorization: `Bearer ${key}` });
    total.events += events;
    total.broken += broken;
  }
  const lost = 100 * (1 - total.events / ((events.length - 1) * NAIVE_STREAMS));
  return `${lost.toFixed(0)} % of events lost, ${total.broken} broken characters`;
}

async function naiveRates(context) {
  const lines = BEHAVIOURS.filter(({ name }) => NAIVE_ON.includes(name)).map(async (behaviour) => {
    const rates = await Promise.all([true, false].map((isDirect) => naiveRate(context, behaviour, isDirect)));
    return `one JSON.parse per read, ${behaviour.name}: ${rates[0]}; through tidegate ${rates[1]}`;
  });
  return { line: (await Promise.all(lines)).join("\n"), wrong: [] };
}

export const extras = [randomStreams, naiveRates];
