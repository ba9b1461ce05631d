// The one answer that every upstream gives, in each dialect: events, what a client must have seen at their end,
// and the dialect's own error event.

import { OVERLOADED, TEXT, TOOL, USAGE, sse } from "./parts.mjs";
import { VENDORS } from "./vendors.mjs";

export const TOOLS = {
  name: TOOL.name,
  description: "The weather in a city",
  parameters: { type: "object", properties: { city: { type: "string" }, note: { type: "string" } } },
};

const whole = (finish) => ({
  text: TEXT.join(""),
  tool: { name: TOOL.name, args: JSON.parse(TOOL.pieces.join("")) },
  finish,
  usage: USAGE,
});

const openaiChunk = (more) =>
  JSON.stringify({ id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: "m", ...more });
const openaiDelta = (delta, finish_reason = null) => openaiChunk({ choices: [{ index: 0, delta, finish_reason }] });

function openai() {
  const call = (more) => openaiDelta({ tool_calls: [{ index: 0, ...more }] });
  return [
    { data: openaiDelta({ role: "assistant", content: "" }) },
    ...TEXT.map((text) => ({ data: openaiDelta({ content: text }), text })),
    { data: call({ id: "call_1", type: "function", function: { name: TOOL.name, arguments: "" } }) },
    ...TOOL.pieces.map((piece) => ({ data: call({ function: { arguments: piece } }) })),
    { data: openaiDelta({}, "tool_calls") },
    {
      data: openaiChunk({
        choices: [],
        usage: { prompt_tokens: USAGE[0], completion_tokens: USAGE[1], total_tokens: USAGE[0] + USAGE[1] },
      }),
    },
    { data: "[DONE]" },
  ];
}

function anthropic() {
  const named = (type, more) => ({ event: type, data: JSON.stringify({ type, ...more }) });
  const delta = (index, more) => named("content_block_delta", { index, delta: more });
  const start = (index, content_block) => named("content_block_start", { index, content_block });
  const message = {
    id: "msg_1",
    type: "message",
    role: "assistant",
    model: "m",
    content: [],
    stop_reason: null,
    stop_sequence: null,
    usage: { input_tokens: USAGE[0], output_tokens: 1 },
  };
  return [
    named("message_start", { message }),
    start(0, { type: "text", text: "" }),
    named("ping", {}),
    ...TEXT.map((text) => ({ ...delta(0, { type: "text_delta", text }), text })),
    named("content_block_stop", { index: 0 }),
    start(1, { type: "tool_use", id: "toolu_1", name: TOOL.name, input: {} }),
    ...TOOL.pieces.map((piece) => delta(1, { type: "input_json_delta", partial_json: piece })),
    named("content_block_stop", { index: 1 }),
    named("message_delta", {
      delta: { stop_reason: "tool_use", stop_sequence: null },
      usage: { output_tokens: USAGE[1] },
    }),
    named("message_stop", {}),
  ];
}

function ollama() {
  const line = (message, more = { done: false }) =>
    JSON.stringify({
      model: "m",
      created_at: "2026-01-01T00:00:00Z",
      message: { role: "assistant", content: "", ...message },
      ...more,
    });
  const args = JSON.parse(TOOL.pieces.join(""));
  const counts = { prompt_eval_count: USAGE[0], eval_count: USAGE[1] };
  return [
    ...TEXT.map((text) => ({ data: line({ content: text }), text })),
    { data: line({ tool_calls: [{ function: { name: TOOL.name, arguments: args } }] }) },
    { data: line({}, { done: true, done_reason: "stop", ...counts }) },
  ];
}

// A home-grown stream for EventSource: unnamed events, two named ones, ids, and a retry time.
function generic() {
  return [
    ...TEXT.map((text, index) => ({ data: JSON.stringify({ text }), text, retry: index ? undefined : 50 })),
    { event: "tool", data: JSON.stringify({ name: TOOL.name, arguments: TOOL.pieces.join("") }) },
    { event: "done", data: JSON.stringify({ finish: "stop", usage: USAGE }) },
  ];
}

const hex = (unit) => unit.charCodeAt(0).toString(16).padStart(4, "0");

// refusal    the body of an answer that is an error by its status
// style      what the dialect's servers have of their own: line ends, the space after the colon; headers likewise
// outcomes   what the access line says where it differs from that of the behaviour
export const DIALECTS = {
  "openai-chat": {
    path: "/v1/chat/completions",
    events: openai(),
    wire: sse,
    mediaType: "text/event-stream",
    error: { data: JSON.stringify({ error: OVERLOADED }) },
    refusal: (error) => ({ error }),
    whole: whole("tool_calls"),
  },
  anthropic: {
    path: "/v1/messages",
    events: anthropic(),
    wire: sse,
    mediaType: "text/event-stream; charset=utf-8",
    error: {
      event: "error",
      data: JSON.stringify({ type: "error", error: { type: "overloaded_error", message: OVERLOADED.message } }),
    },
    refusal: ({ message, code }) => ({ type: "error", error: { type: code, message } }),
    whole: whole("tool_use"),
  },
  ollama: {
    path: "/api/chat",
    events: ollama(),
    // Ollama escapes line separators, as Go does; U+0085 here, too, which its package for Python takes for a line end.
    wire: ({ data }) => `${data.replace(/[\u2028\u2029\u0085]/g, (unit) => `\\u${hex(unit)}`)}\n`,
    mediaType: "application/x-ndjson",
    error: { data: JSON.stringify({ error: OVERLOADED.message }) },
    refusal: ({ message }) => ({ error: message }),
    whole: whole("stop"),
  },
  generic: {
    path: "/events",
    events: generic(),
    wire: sse,
    mediaType: "text/event-stream",
    hasIds: true,
    error: { event: "error", data: JSON.stringify({ error: OVERLOADED }) },
    refusal: (error) => ({ error }),
    // Its end is not known: a clean end is one, and a body without its last chunk is not.
    outcomes: { "ends short": "done", "no last chunk": "upstream:truncated" },
    whole: whole("stop"),
  },
  ...VENDORS,
};

// Ollama's lines for clients of events: known from its first one, and judged by its last.
DIALECTS["ollama, as events"] = { ...DIALECTS.ollama, path: "/events/api/chat", outcomes: undefined };
