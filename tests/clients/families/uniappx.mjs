// uni.connectEventSource of uni-app x, emulated after dcloudio/uni-api, uni_modules/uni-sse: GET with headers, every
// event to onMessage with its type, and nothing about ends (Android) or an error at any end (iOS).

import http from "node:http";

import { DIALECTS } from "../snippets/answer.js";
import { load } from "./miniprogram/emulated.mjs";

// Android tells neither errors nor ends; this long without a word, and without a byte, is taken for never.
const PATIENCE_MS = 10_000;

// `alive` is called whenever something came.
function connectEventSource(platform, { url, header }, alive) {
  const listeners = { message: () => {}, error: () => {} };
  const request = http.get(url, { headers: { ...header, accept: "text/event-stream" }, agent: false }, (response) => {
    const isStream = response.statusCode === 200 && response.headers["content-type"].startsWith("text/event-stream");
    if (platform === "android" && !isStream) return response.resume();
    let rest = "";
    response.setEncoding("utf8");
    response.on("data", (text) => {
      alive();
      const blocks = (rest + text).split("\n\n");
      rest = blocks.pop();
      blocks.forEach((block) => dispatch(platform, block, listeners));
    });
    response.on("error", () => {});
    response.on("close", () => platform === "ios" && listeners.error({ errCode: response.statusCode }));
  });
  request.on("error", () => {});
  for (const event of ["socket", "response", "close"]) request.on(event, alive);
  return {
    onMessage: (listener) => (listeners.message = listener),
    onError: (listener) => (listeners.error = listener),
    close: () => request.destroy(),
  };
}

function dispatch(platform, block, listeners) {
  if (platform === "ios" && block.startsWith(":")) return;
  const fields = { event: "message", id: "", data: undefined };
  for (const line of block.split("\n")) {
    const [, name, value] = /^([a-z]+): ?([^\n]*)$/.exec(line) ?? [];
    if (name in fields) fields[name] = value;
  }
  if (fields.data !== undefined) {
    listeners.message({ type: fields.event, data: fields.data, lastEventId: fields.id });
  }
}

const client = (name, platform, unfinished, route) => ({
  name: `uni.connectEventSource, ${name} (emulated)`,
  dialect: "generic",
  speaksAll: true,
  unfinished,
  method: "GET",
  route,
  run: (call) =>
    new Promise((resolve, reject) => {
      const uni = { connectEventSource: (options) => connectEventSource(platform, options, () => alive()) };
      let timer;
      let isOver = false;
      const alive = () => {
        clearTimeout(timer);
        if (isOver) return;
        timer = setTimeout(() => end(reject, { kind: "no callback" }), PATIENCE_MS);
      };
      const end = (settle, value) => {
        isOver = true;
        clearTimeout(timer);
        if (settle === reject) source.close();
        settle(value);
      };
      const source = load(["answer.js", "uni-app-x.js"], { uni, setTimeout })({
        url: `${call.base}${call.path}`,
        key: call.key,
        dialect: DIALECTS[call.dialect],
        show: call.show,
        done: () => end(resolve),
        fail: (error) => end(reject, error.errCode === undefined ? error : { kind: "onError" }),
      });
      alive();
      call.signal.addEventListener("abort", () => {
        source.close();
        end(resolve);
      });
    }),
});

export const clients = [
  client("Android", "android", "no callback", "/uni"),
  client("iOS", "ios", "onError", "/uni"),
];
