// The same text in the dialects that only generic clients are run with, each in the form of its recorded streams in
// tests/data.

import { OVERLOADED, TEXT, USAGE, sse } from "./parts.mjs";

const named = (type, more) => ({ event: type, data: JSON.stringify({ type, ...more }) });
const plain = (data) => ({ data: JSON.stringify(data) });
const texts = (event) => TEXT.map((text) => ({ ...event(text), text }));

const whole = (finish, usage = USAGE) => ({ text: TEXT.join(""), finish, usage });
const withoutUsage = ({ usage, ...rest }) => rest;

function responses() {
  let sequence_number = 0;
  const event = (type, more) => named(`response.${type}`, { sequence_number: sequence_number++, ...more });
  const at = { item_id: "msg_1", output_index: 0, content_index: 0 };
  const response = { id: "resp_1", object: "response", status: "in_progress", error: null, output: [] };
  const usage = { input_tokens: USAGE[0], output_tokens: USAGE[1], total_tokens: USAGE[0] + USAGE[1] };
  const message = (status, content) => ({ id: "msg_1", type: "message", role: "assistant", status, content });
  const part = (text) => ({ type: "output_text", text, annotations: [] });
  const said = TEXT.join("");
  return [
    event("created", { response }),
    event("in_progress", { response }),
    event("output_item.added", { output_index: 0, item: message("in_progress", []) }),
    event("content_part.added", { ...at, part: part("") }),
    ...texts((delta) => event("output_text.delta", { ...at, delta })),
    event("output_text.done", { ...at, text: said }),
    event("content_part.done", { ...at, part: part(said) }),
    event("output_item.done", { output_index: 0, item: message("completed", [part(said)]) }),
    event("completed", { response: { ...response, status: "completed", usage } }),
  ];
}

function gemini() {
  const usageMetadata = { promptTokenCount: USAGE[0] };
  const candidate = (parts, more) => ({ candidates: [{ content: { role: "model", parts }, index: 0, ...more }] });
  return [
    ...texts((text) => plain({ ...candidate([{ text }]), usageMetadata, modelVersion: "m" })),
    plain({
      ...candidate([{ text: "" }], { finishReason: "STOP" }),
      usageMetadata: { ...usageMetadata, candidatesTokenCount: USAGE[1] },
    }),
  ];
}

function dashscope() {
  const usage = { input_tokens: USAGE[0], output_tokens: USAGE[1] };
  const result = (content, finish_reason = "null") => ({
    event: "result",
    comment: "HTTP_STATUS/200",
    data: JSON.stringify({
      output: { choices: [{ message: { content, role: "assistant" }, finish_reason }] },
      usage,
      request_id: "r",
    }),
  });
  return [...texts((text) => result(text)), result("", "stop")];
}

function dify() {
  const ids = { task_id: "t", message_id: "m", conversation_id: "c" };
  const usage = { prompt_tokens: USAGE[0], completion_tokens: USAGE[1] };
  const workflow = (event, data) => plain({ event, task_id: "t", workflow_run_id: "w", data: { id: "w", ...data } });
  return [
    workflow("workflow_started", { created_at: 1 }),
    ...texts((answer) => plain({ event: "message", ...ids, answer, created_at: 1 })),
    workflow("workflow_finished", { status: "succeeded", outputs: {}, total_tokens: 5 }),
    plain({ event: "message_end", ...ids, metadata: { usage } }),
  ];
}

function coze() {
  const event = (name, data) => ({ event: `conversation.${name}`, data: JSON.stringify(data) });
  const chat = (status, more) => event(`chat.${status}`, { id: "1", conversation_id: "2", status, ...more });
  const message = (name, content) =>
    event(`message.${name}`, { id: "4", role: "assistant", type: "answer", content, content_type: "text" });
  return [
    chat("created"),
    chat("in_progress"),
    ...texts((text) => message("delta", text)),
    message("completed", TEXT.join("")),
    chat("completed", { usage: { input_count: USAGE[0], output_count: USAGE[1] } }),
    { event: "done", data: '"[DONE]"' },
  ];
}

function mcp() {
  const rpc = (more) => plain({ jsonrpc: "2.0", ...more });
  const progress = (message) =>
    rpc({ method: "notifications/progress", params: { progressToken: "p", progress: 1, message } });
  return [
    { data: "", retry: 50 },
    ...texts(progress),
    rpc({ id: 1, result: { content: [{ type: "text", text: "42" }], isError: false } }),
  ];
}

function agUi() {
  const event = (type, more) => plain({ type, ...more });
  return [
    event("RUN_STARTED", { threadId: "t", runId: "r" }),
    event("TEXT_MESSAGE_START", { messageId: "m", role: "assistant" }),
    ...texts((delta) => event("TEXT_MESSAGE_CONTENT", { messageId: "m", delta })),
    event("TEXT_MESSAGE_END", { messageId: "m" }),
    event("RUN_FINISHED", { threadId: "t", runId: "r" }),
  ];
}

function vercelUi() {
  const event = (type, more) => plain({ type, ...more });
  return [
    event("start", { messageId: "m" }),
    event("start-step"),
    event("text-start", { id: "0" }),
    ...texts((delta) => event("text-delta", { id: "0", delta })),
    event("text-end", { id: "0" }),
    event("finish-step"),
    event("finish", { finishReason: "stop" }),
    { data: "[DONE]" },
  ];
}

const { message, code } = OVERLOADED;

const stream = { wire: sse, mediaType: "text/event-stream" };

// As the entries of DIALECTS in answers.mjs.
export const VENDORS = {
  "openai-responses": {
    ...stream,
    path: "/v1/responses",
    events: responses(),
    error: named("response.failed", {
      sequence_number: 7,
      response: { id: "resp_1", object: "response", status: "failed", error: { code, message } },
    }),
    refusal: (error) => ({ error }),
    whole: whole("completed"),
  },
  gemini: {
    ...stream,
    path: "/v1beta/models/m:streamGenerateContent",
    style: { eol: "\r\n" },
    events: gemini(),
    error: plain({ error: { code: 503, message, status: "UNAVAILABLE" } }),
    whole: whole("STOP"),
  },
  dashscope: {
    ...stream,
    path: "/api/v1/services/aigc/text-generation/generation",
    style: { space: false },
    hasIds: true,
    events: dashscope(),
    error: { event: "error", comment: "HTTP_STATUS/503", data: JSON.stringify({ code, message, request_id: "r" }) },
    whole: whole("stop"),
  },
  dify: {
    ...stream,
    path: "/v1/chat-messages",
    events: dify(),
    error: plain({ event: "error", task_id: "t", message_id: "m", status: 503, code, message }),
    whole: whole("message_end"),
  },
  coze: {
    ...stream,
    path: "/v3/chat",
    style: { space: false },
    events: coze(),
    error: {
      event: "conversation.chat.failed",
      data: JSON.stringify({ id: "1", status: "failed", last_error: { code: 5000, msg: message } }),
    },
    whole: whole("completed"),
  },
  mcp: {
    ...stream,
    path: "/mcp",
    hasIds: true,
    events: mcp(),
    error: plain({ jsonrpc: "2.0", id: 1, error: { code: -32603, message } }),
    // Clients resume, so an end without a result is none of the answer's.
    outcomes: { "ends short": "done" },
    whole: withoutUsage(whole("42")),
  },
  "ag-ui": {
    ...stream,
    path: "/agent",
    events: agUi(),
    error: plain({ type: "RUN_ERROR", message, code }),
    whole: withoutUsage(whole("RUN_FINISHED")),
  },
  "vercel-ui": {
    ...stream,
    path: "/api/ui",
    headers: { "x-vercel-ai-ui-message-stream": "v1" },
    // Its own client does not say that it wants a stream: the server is one of streams alone.
    isBare: true,
    events: vercelUi(),
    error: plain({ type: "error", errorText: message }),
    refusal: (error) => ({ error }),
    whole: withoutUsage(whole("stop")),
  },
};
