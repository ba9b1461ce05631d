import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { streamText } from "ai";

export async function chat({ base, key, prompt, tools, signal, show, maxRetries = 2 }) {
  const provider = createOpenAICompatible({ name: "tidegate", baseURL: `${base}/v1`, apiKey: key, includeUsage: true });
  const result = streamText({
    model: provider("gpt-4o-mini"),
    prompt,
    tools,
    maxRetries,
    abortSignal: signal,
    onError() {},
  });
  for await (const part of result.fullStream) {
    if (part.type === "error") throw part.error; // textStream alone would just end here
    show(part);
  }
}
