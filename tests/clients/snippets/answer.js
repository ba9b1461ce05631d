// By dialect: with which event an answer is whole, which event is the last if others follow that one, and the error
// that an event tells. `data` is the event's JSON, `name` what stands behind `event:`; `names` are all that a dialect
// uses, for clients that must ask for each.
export const DIALECTS = {
  "openai-chat": {
    isWhole: ({ choices }) => Boolean(choices?.some(({ finish_reason }) => finish_reason)),
    isLast: () => false, // usage may follow, and then [DONE]
    hasMarker: true, // [DONE], which says as much as a finish_reason
    errorIn: ({ error }) => error,
  },
  "openai-responses": {
    names: ["created", "in_progress", "completed", "incomplete", "failed", "output_item.added", "output_item.done"]
      .concat(["content_part.added", "content_part.done", "output_text.delta", "output_text.done"])
      .concat(["function_call_arguments.delta", "function_call_arguments.done"])
      .map((name) => `response.${name}`),
    isWhole: ({ type }) => type === "response.completed" || type === "response.incomplete",
    errorIn: (data) => (data.type === "error" ? data : data.response?.error),
  },
  anthropic: {
    names: ["message_start", "message_delta", "message_stop", "ping"].concat(
      ["start", "delta", "stop"].map((part) => `content_block_${part}`),
    ),
    isWhole: ({ type }) => type === "message_stop",
    errorIn: ({ error }) => error,
  },
  gemini: {
    isWhole: ({ candidates, promptFeedback }) =>
      Boolean(candidates?.some(({ finishReason }) => finishReason) || promptFeedback?.blockReason),
    errorIn: ({ error }) => error,
  },
  ollama: {
    isWhole: ({ done }) => done === true,
    errorIn: ({ error, code }) => error && { message: error, code },
  },
  dashscope: {
    names: ["result"],
    isWhole({ output }) {
      const { finish_reason } = output.choices?.[0] ?? output;
      return Boolean(finish_reason) && finish_reason !== "null";
    },
    errorIn: (data) => (data.output ? undefined : data),
  },
  dify: {
    isWhole: ({ event }) => event === "message_end" || event === "workflow_finished",
    isLast: ({ event }) => event === "message_end", // behind the end of a workflow, in chats
    errorIn(data) {
      const hasFailed = data.event === "workflow_finished" && data.data.status === "failed";
      return data.event === "error" ? data : hasFailed ? { message: data.data.error } : undefined;
    },
  },
  coze: {
    names: ["chat.created", "chat.in_progress", "chat.requires_action", "chat.completed", "chat.failed"]
      .concat(["message.delta", "message.completed", "audio.delta"])
      .map((name) => `conversation.${name}`)
      .concat(["done", "Message", "Interrupt", "Done", "Error"]),
    isWhole: (_, name) => ["conversation.chat.completed", "conversation.chat.requires_action", "Done"].includes(name),
    errorIn(data, name) {
      if (!["error", "Error", "conversation.chat.failed"].includes(name)) return undefined;
      const { msg, error_message, code, error_code } = data.last_error ?? data;
      return { message: msg ?? error_message, code: code ?? error_code };
    },
  },
  mcp: {
    isWhole: (data) => data.id !== undefined && "result" in data,
    errorIn: ({ error }) => error,
  },
  "ag-ui": {
    isWhole: ({ type }) => type === "RUN_FINISHED",
    errorIn: (data) => (data.type === "RUN_ERROR" ? data : undefined),
  },
  "vercel-ui": {
    isWhole: ({ type }) => type === "finish" || type === "abort",
    errorIn: ({ type, errorText }) => (type === "error" ? { message: errorText } : undefined),
  },
  // A stream of your own: say here how it ends.
  generic: {
    names: ["tool", "done"],
    isWhole: (_, name) => name === "done",
    errorIn: ({ error }) => error,
  },
};

// Follows one answer: give it each event. It `isOver` with its last one, if that can be told; whether it `isWhole` is
// to be asked when the stream has ended.
export function follow(dialect, show) {
  const answer = {
    isWhole: false,
    isOver: false,
    take({ name, data }) {
      if (!data) return; // so MCP begins
      if (data === "[DONE]") {
        answer.isWhole ||= Boolean(dialect.hasMarker);
        answer.isOver = answer.isWhole;
        return;
      }
      const message = JSON.parse(data);
      const error = dialect.errorIn(message, name);
      if (error && answer.isWhole) return; // nothing is missing
      if (error) throw Object.assign(new Error(error.message), error);
      show(message, name);
      answer.isWhole ||= dialect.isWhole(message, name);
      answer.isOver ||= (dialect.isLast ?? dialect.isWhole)(message, name);
    },
    missing: () => (answer.isWhole ? undefined : new Error("the stream ended before the answer did")),
  };
  return answer;
}
