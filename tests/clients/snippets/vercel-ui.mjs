import { DefaultChatTransport } from "ai";

// What useChat does, without a page around it.
export async function chat({ url, key, messages, signal, show }) {
  const transport = new DefaultChatTransport({ api: url, headers: { Authorization: `Bearer ${key}` } });
  const asked = { chatId: "chat-1", trigger: "submit-message", messages, abortSignal: signal };
  const stream = await transport.sendMessages(asked);
  let isWhole = false;
  for await (const part of stream) {
    if (part.type === "error") throw new Error(part.errorText);
    show(part);
    isWhole ||= part.type === "finish" || part.type === "abort";
  }
  if (!isWhole && !signal.aborted) throw new Error("the stream ended before the answer did");
}
