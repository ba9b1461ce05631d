import { Ollama } from "ollama";

export async function chat({ base, key, request, signal, show }) {
  const client = new Ollama({ host: base, headers: { Authorization: `Bearer ${key}` } });
  const stream = await client.chat({ ...request, stream: true });
  signal.addEventListener("abort", () => stream.abort());
  for await (const part of stream) show(part);
}
