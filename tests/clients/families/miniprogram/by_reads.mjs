// Two clients that are found in the wild and that no page should advise: they take a read for more than it is.

import { follow } from "../../snippets/answer.js";
import { eventOf } from "../../snippets/sse.js";

// As several SDKs for mini-programs do it: each read is decoded for itself, and what was decoded is kept until an event
// is whole. Characters that a read cuts are lost, unless all are ASCII.
export function textReader(dialect, show) {
  const answer = follow(dialect, show);
  let rest = "";
  return {
    answer,
    take(buffer) {
      const blocks = (rest + new TextDecoder().decode(buffer)).split("\n\n");
      rest = blocks.pop();
      for (const event of blocks.map(eventOf)) if (event) answer.take(event);
    },
  };
}

// A whole client around it.
export function chatByText({ api, url, key, request, dialect, show, done, fail }) {
  const reader = textReader(dialect, show);
  let error;
  const task = api.request({
    url,
    method: "POST",
    header: { Authorization: `Bearer ${key}`, Accept: "text/event-stream" },
    data: { ...request, stream: true },
    success() {
      error ??= reader.answer.missing();
      if (error) fail(error);
      else done();
    },
    fail: ({ errMsg }) => fail(new Error(errMsg)),
  });
  task.onChunkReceived(({ data }) => {
    try {
      reader.take(data);
    } catch (thrown) {
      error ??= thrown;
    }
  });
  return task;
}

// As tutorials do it: each read is one event, and what follows "data: " its JSON. Counts the events it got, and the
// characters that it broke.
export class Naive {
  events = 0;
  broken = 0;

  take(buffer) {
    const text = new TextDecoder().decode(buffer);
    this.broken += text.split("\ufffd").length - 1;
    const [, ...rest] = text.split("data: ");
    if (!rest.length) return;
    try {
      if ("choices" in JSON.parse(rest.join("data: "))) this.events += 1;
    } catch {
      // Nothing that it could show, and so nothing that a user sees.
    }
  }
}
