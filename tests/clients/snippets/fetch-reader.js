import { dataOf } from "./sse.js";

export async function chat({ url, key, request, signal, show }) {
  const response = await fetch(url, {
    method: "POST",
    headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json", Accept: "text/event-stream" },
    body: JSON.stringify({ ...request, stream: true }),
    signal,
  });
  if (!response.ok) throw Object.assign(new Error(await response.text()), { status: response.status });
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error("the stream ended before [DONE]");
    const blocks = (rest + decoder.decode(value, { stream: true })).split("\n\n");
    rest = blocks.pop(); // not whole yet
    for (const data of blocks.map(dataOf)) {
      if (data === undefined) continue; // a block without data
      if (data === "[DONE]") return reader.cancel();
      const chunk = JSON.parse(data);
      if (chunk.error) throw Object.assign(new Error(chunk.error.message), chunk.error);
      show(chunk);
    }
  }
}
