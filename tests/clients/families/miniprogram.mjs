// Mini-programs, emulated.

import { DIALECTS } from "../snippets/answer.js";
import { OPENAI_REQUEST } from "../harness/requests.mjs";
import { chatByText } from "./miniprogram/by_reads.mjs";
import { chat, emulated } from "./miniprogram/emulated.mjs";
import { naiveRates, randomStreams } from "./miniprogram/storm.mjs";

function run(chat, call, options) {
  return new Promise((done, fail) => {
    const task = chat({
      api: emulated({ seed: call.seed, ...options }),
      url: `${call.base}${call.path}`,
      key: call.key,
      dialect: DIALECTS[call.dialect],
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
  {
    name: "wx.request, uni.request (emulated)",
    dialect: "openai-chat",
    speaksAll: true,
    run: (call) => run(chat, call),
  },
  {
    name: "wx.request that reports at the end (emulated)",
    dialect: "openai-chat",
    speaksAll: true,
    hearsAtEnd: true,
    run: (call) => run(chat, call, { isChunked: false }),
  },
  {
    name: "wx.request, new decoder per read (emulated)",
    dialect: "openai-chat",
    speaksAll: true,
    run: (call) => run(chatByText, call),
  },
];

export const extras = [randomStreams];

export const figures = [naiveRates];
