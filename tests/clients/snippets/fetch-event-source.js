import { fetchEventSource } from "@microsoft/fetch-event-source";

export async function chat({ url, key, request, signal, show }) {
  let isDone = false;
  await fetchEventSource(url, {
    method: "POST",
    headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json" },
    body: JSON.stringify({ ...request, stream: true }),
    signal,
    openWhenHidden: true, // otherwise it posts again whenever the tab comes back
    async onopen(response) {
      if (!response.ok) throw Object.assign(new Error(await response.text()), { status: response.status });
    },
    onmessage({ data }) {
      isDone ||= data === "[DONE]";
      if (isDone) return;
      const chunk = JSON.parse(data);
      if (chunk.error) throw Object.assign(new Error(chunk.error.message), chunk.error);
      show(chunk);
    },
    onerror(error) {
      throw error; // otherwise it posts again each second, for ever
    },
  });
  if (!isDone && !signal.aborted) throw new Error("the stream ended before [DONE]");
}
