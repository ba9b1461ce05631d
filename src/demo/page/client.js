// The client that both sides run, shown on the page as it stands here.

function naiveClient(chunk, show) {
  const text = new TextDecoder().decode(chunk); // wrong: half a character may follow in the next chunk
  for (const line of text.split("\n")) {
    if (/^(\s*|:.*|event:.*)$/.test(line)) continue; // blank lines, comments, names of events
    const json = line.replace(/^data: ?/, "").trim();
    if (json === "[DONE]") continue;
    try {
      const message = JSON.parse(json); // wrong: half of the line may follow in the next chunk
      const error = message.error?.message ?? message.error;
      if (error) show.error(error);
      else show.text(message.choices?.[0].delta.content ?? message.message?.content ?? "");
    } catch (error) {
      show.broken(line, error);
    }
  }
}

// Asks, and posts each chunk as the browser gives it, then how it ended. Runs in a worker, because chunks that
// arrive while a page draws run together.
async function readChunks({ url, options }) {
  const now = () => performance.timeOrigin + performance.now();
  const result = {};
  postMessage({ started: now() });
  try {
    const response = await fetch(url, options);
    result.status = response.status;
    if (response.ok) {
      const reader = response.body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        postMessage({ chunk: value, at: now() });
      }
    } else {
      result.refusal = await response.text();
    }
  } catch (error) {
    result.failure = error.message;
  }
  postMessage({ result });
}
