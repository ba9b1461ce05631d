import { DIALECTS, follow } from "./answer.js";
import { eventOf } from "./sse.js";

export async function chat({ url, key, request, dialect = DIALECTS["openai-chat"], signal, show }) {
  const response = await fetch(url, {
    method: "POST",
    headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json", Accept: "text/event-stream" },
    body: JSON.stringify({ stream: true, ...request }),
    signal,
  });
  if (!response.ok) throw Object.assign(new Error(await response.text()), { status: response.status });
  const answer = follow(dialect, show);
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break; // to the very end: who leaves at [DONE] is logged as gone
    const blocks = (rest + decoder.decode(value, { stream: true })).split("\n\n");
    rest = blocks.pop(); // not whole yet
    for (const event of blocks.map(eventOf)) if (event) answer.take(event);
  }
  if (!answer.isWhole) throw answer.missing();
}
