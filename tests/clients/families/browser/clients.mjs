// The clients that run in pages; EventSource runs in Node, too.

import { DIALECTS } from "../../snippets/answer.js";
import { listen } from "../../snippets/eventsource.js";

const prepared = (call) =>
  Object.assign(call, { url: `${call.base}${call.path}`, dialect: DIALECTS[call.dialect] });

function listening(call, source) {
  return new Promise((done, reject) => {
    const fail = (error) => reject(error.message.startsWith("refused") ? { kind: "closed" } : error);
    listen({ ...call, source, done, fail });
    call.signal.addEventListener("abort", () => {
      source.close();
      done();
    });
  });
}

export const eventSource = (call) => listening(call, new EventSource(`${prepared(call).url}?key=${call.key}`));

// A script of the page defines it.
export const polyfill = (call) =>
  listening(
    call,
    new EventSourcePolyfill(prepared(call).url, { headers: { Authorization: `Bearer ${call.key}` } }),
  );

export async function fetchReader(call) {
  const { chat } = await import("../../snippets/fetch-reader.js");
  return chat(prepared(call));
}

export async function fetchEventSource(call) {
  const { chat } = await import("../../snippets/fetch-event-source.js");
  return chat(prepared(call));
}
