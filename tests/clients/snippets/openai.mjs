import OpenAI from "openai";

export async function chat({ base, key, request, signal, show, maxRetries = 2 }) {
  const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: key, maxRetries });
  const stream = await client.chat.completions.create({ ...request, stream: true }, { signal });
  for await (const chunk of stream) show(chunk);
}

export async function respond({ base, key, request, signal, show, maxRetries = 2 }) {
  const client = new OpenAI({ baseURL: `${base}/v1`, apiKey: key, maxRetries });
  const stream = await client.responses.create({ ...request, stream: true }, { signal });
  for await (const event of stream) {
    if (event.type === "response.failed") throw event.response.error; // which the package does not throw
    show(event);
  }
}
