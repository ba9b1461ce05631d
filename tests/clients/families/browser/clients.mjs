// The clients that run in pages; EventSource runs in Node, too.

import { listen } from "../../snippets/eventsource.js";

export function eventSource(call) {
  return new Promise((resolve, reject) => {
    const source = listen({
      url: `${call.base}/events?key=${call.key}`,
      show: call.show,
      done: resolve,
      fail: (error) =>
        reject(error instanceof Error ? { kind: "closed", message: error.message } : { kind: "error", ...error }),
    });
    call.signal.addEventListener("abort", () => {
      source.close();
      resolve();
    });
  });
}

const withUrl = (call) => Object.assign(call, { url: `${call.base}/v1/chat/completions` });

export async function fetchReader(call) {
  const { chat } = await import("../../snippets/fetch-reader.js");
  return chat(withUrl(call));
}

export async function fetchEventSource(call) {
  const { chat } = await import("../../snippets/fetch-event-source.js");
  return chat(withUrl(call));
}
