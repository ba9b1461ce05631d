import Anthropic from "@anthropic-ai/sdk";

export async function chat({ base, key, request, signal, show, maxRetries = 2 }) {
  const client = new Anthropic({ baseURL: base, apiKey: key, maxRetries });
  const stream = await client.messages.create({ ...request, stream: true }, { signal });
  for await (const event of stream) show(event);
}
