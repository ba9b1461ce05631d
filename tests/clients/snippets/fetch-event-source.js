import { fetchEventSource } from "@microsoft/fetch-event-source";

import { DIALECTS, follow } from "./answer.js";

export async function chat({ url, key, request, dialect = DIALECTS["openai-chat"], signal, show }) {
  const answer = follow(dialect, show);
  await fetchEventSource(url, {
    method: "POST",
    headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json" },
    body: JSON.stringify({ stream: true, ...request }),
    signal,
    openWhenHidden: true, // otherwise it posts again whenever the tab comes back
    async onopen(response) {
      if (!response.ok) throw Object.assign(new Error(await response.text()), { status: response.status });
    },
    onmessage: ({ event, data }) => answer.take({ name: event, data }),
    onerror(error) {
      throw error; // otherwise it posts again each second, for ever
    },
  });
  if (!answer.isWhole && !signal.aborted) throw answer.missing();
}
