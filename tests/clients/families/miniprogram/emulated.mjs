// A host of mini-programs, emulated: the code runs in a context that has nothing but the language (no TextDecoder, no
// fetch), and `request` gives it what the network brought in reads of its own.

import http from "node:http";
import { readFileSync } from "node:fs";
import vm from "node:vm";

import { random } from "../../harness/random.mjs";

const source = (name) => readFileSync(new URL(`../../snippets/${name}`, import.meta.url), "utf8");

// The snippets as a mini-program's bundler joins them. What they use of the language is looked up once: in a context,
// each look-up of a global is slow.
export function load(names, globals = {}) {
  const code = names
    .map(source)
    .join("\n")
    .replace(/^import .*$/gm, "")
    .replace(/^export /gm, "");
  const known = "const { Boolean, Error, JSON, Object, String, Uint8Array } = globalThis;";
  const whole = `(() => {${known}\n${code}\nreturn typeof chat === "function" ? chat : listen;})()`;
  return vm.runInContext(whole, vm.createContext(globals));
}

const arrayBuffer = (bytes) => bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length);

// Cut anywhere, now and then into crumbs.
function* cuts(bytes, next) {
  for (let from = 0; from < bytes.length;) {
    const to = from + 1 + next(next(3) ? 600 : 6);
    yield bytes.subarray(from, to);
    from = to;
  }
}

// How reads differ from the chunks that were sent: not at all; several in one; cut anywhere beside.
export const READS = ["chunks", "glued", "glued and cut"];

// By which WeChat says that it is one, and no program can.
const REFERER = "https://servicewechat.com/wx0123456789abcdef/7/page-frame.html";

// wx.request, and uni.request inside WeChat, as far as streams need them. `isChunked` false is a host that calls nothing
// back before the end; `tap` gets every read, too.
export function emulated({ seed, isChunked = true, reads = "glued and cut", agent = false, referer = REFERER, tap }) {
  return {
    request({ url, method, header, data, success, fail }) {
      const listeners = tap ? [({ data }) => tap(data)] : [];
      const next = random(seed);
      const body = JSON.stringify(data);
      const length = Buffer.byteLength(body);
      const headers = { ...header, referer, "content-type": "application/json", "content-length": length };
      let held = [];
      const give = (bytes) => listeners.forEach((listener) => listener({ data: arrayBuffer(bytes) }));
      const pour = (isLast) => {
        // Now and then reads are held back, and so are glued to the next.
        if (!isChunked || (!isLast && reads !== "chunks" && next(3) === 0)) return;
        const all = Buffer.concat(held);
        held = [];
        for (const piece of reads === "glued and cut" ? cuts(all, next) : all.length ? [all] : []) give(piece);
      };
      const request = http.request(url, { method, headers, agent }, (response) => {
        response.on("data", (bytes) => {
          held.push(bytes);
          pour(false);
        });
        response.on("end", () => {
          pour(true);
          success({ statusCode: response.statusCode, data: arrayBuffer(Buffer.concat(held)) });
        });
        response.on("error", (error) => {
          pour(true);
          fail({ errMsg: `request:fail ${error.message}` });
        });
      });
      request.on("error", (error) => fail({ errMsg: `request:fail ${error.message}` }));
      request.end(body);
      return { onChunkReceived: (listener) => listeners.push(listener), abort: () => request.destroy() };
    },
  };
}

// The page's own code, which keeps bytes until an event is whole.
export const chat = load(["answer.js", "sse.js", "miniprogram.js"]);
