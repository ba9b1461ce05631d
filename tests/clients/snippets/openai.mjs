import OpenAI from "openai";

export async function chat({ base, key, request, signal, show, maxRetries = 2 }) {
  const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: key, maxRetries });
  const stream = await client.chat.completions.create({ ...request, stream: true }, { signal });
  for await (const chunk of stream) show(chunk);
}
