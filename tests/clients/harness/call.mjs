// One call of a client, the same in Node and in Chromium: what it is to ask, and what it saw.

// How the pieces that a snippet shows add up, by dialect.
const COLLECT = {
  "openai-chat"(seen, chunk) {
    const [choice] = chunk.choices;
    if (chunk.usage) seen.usage = [chunk.usage.prompt_tokens, chunk.usage.completion_tokens];
    if (!choice) return;
    seen.text += choice.delta.content ?? "";
    for (const call of choice.delta.tool_calls ?? []) addTool(seen, call.function.name, call.function.arguments);
    seen.finish = choice.finish_reason ?? seen.finish;
  },
  anthropic(seen, event) {
    if (event.type === "message_start") seen.usage = [event.message.usage.input_tokens];
    if (event.content_block?.type === "tool_use") addTool(seen, event.content_block.name, "");
    seen.text += event.delta?.text ?? "";
    if (event.delta?.partial_json) addTool(seen, undefined, event.delta.partial_json);
    if (event.type === "message_delta") {
      seen.usage[1] = event.usage.output_tokens;
      seen.finish = event.delta.stop_reason;
    }
  },
  ollama(seen, part) {
    seen.text += part.message.content ?? "";
    for (const call of part.message.tool_calls ?? []) {
      addTool(seen, call.function.name, JSON.stringify(call.function.arguments));
    }
    if (part.done) {
      seen.finish = part.done_reason;
      seen.usage = [part.prompt_eval_count, part.eval_count];
    }
  },
  "openai-responses"(seen, { type, delta, response }) {
    if (type === "response.output_text.delta") seen.text += delta;
    if (type === "response.completed") {
      seen.finish = response.status;
      seen.usage = [response.usage.input_tokens, response.usage.output_tokens];
    }
  },
  gemini(seen, { candidates, usageMetadata }) {
    if (!candidates) return; // a heartbeat
    for (const { text } of candidates[0].content.parts) seen.text += text;
    seen.finish = candidates[0].finishReason;
    seen.usage = [usageMetadata.promptTokenCount, usageMetadata.candidatesTokenCount];
  },
  dashscope(seen, { output, usage }) {
    seen.text += output.choices[0].message.content;
    seen.finish = output.choices[0].finish_reason;
    seen.usage = [usage.input_tokens, usage.output_tokens];
  },
  dify(seen, { event, answer, metadata }) {
    seen.text += answer ?? "";
    if (event !== "message_end") return;
    seen.finish = event;
    seen.usage = [metadata.usage.prompt_tokens, metadata.usage.completion_tokens];
  },
  coze(seen, { content, status, usage }, name) {
    if (name === "conversation.message.delta") seen.text += content;
    seen.finish = status ?? seen.finish;
    if (usage) seen.usage = [usage.input_count, usage.output_count];
  },
  mcp(seen, { params, result }) {
    seen.text += params?.message ?? "";
    seen.finish = result?.content[0].text;
  },
  "ag-ui"(seen, { type, delta }) {
    seen.text += delta ?? "";
    seen.finish = type === "RUN_FINISHED" ? type : undefined;
  },
  "vercel-ui"(seen, { delta, finishReason }) {
    seen.text += delta ?? "";
    seen.finish = finishReason;
  },
  generic(seen, message) {
    seen.text += message.text ?? "";
    if (message.name) addTool(seen, message.name, message.arguments);
    if (message.finish) Object.assign(seen, { finish: message.finish, usage: message.usage });
  },
  // The parts that Vercel's package makes of openai-chat.
  "vercel-ai"(seen, part) {
    if (part.type === "text-delta") seen.text += part.text;
    if (part.type === "tool-call") addTool(seen, part.toolName, JSON.stringify(part.input));
    if (part.type === "finish") {
      seen.finish = part.rawFinishReason;
      seen.usage = [part.totalUsage.inputTokens, part.totalUsage.outputTokens];
    }
  },
};

COLLECT["ollama, as events"] = COLLECT.ollama;

function addTool(seen, name, args) {
  seen.tool ??= { name, args: "" };
  seen.tool.args += args ?? "";
}

export class Call {
  #controller = new AbortController();

  // given: { base, path, key, request, dialect, collect, leave, maxRetries }; `leave` is to go away once some text is
  // there.
  constructor(given) {
    Object.assign(this, given);
    this.signal = this.#controller.signal;
    this.seen = { text: "", tool: undefined, finish: undefined, usage: undefined };
    this.show = (chunk, name) => {
      if (this.leftAt) return;
      COLLECT[this.collect](this.seen, chunk, name);
      if (this.leave && this.seen.text) this.left();
    };
  }

  left(at = Date.now()) {
    this.leftAt = at;
    this.#controller.abort();
  }

  // Runs a client; never throws.
  async run(client) {
    let error;
    try {
      await client(this);
    } catch (thrown) {
      error = describe(thrown);
    }
    const { seen, leftAt } = this;
    if (seen.tool) seen.tool.args = parsed(seen.tool.args);
    return { seen, error: leftAt ? undefined : error, leftAt };
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

// What a program can tell an error by: its class, the status, the code (or type) of the error object that came.
function describe(error) {
  if (error?.kind) return error;
  const places = [
    error,
    error?.error,
    error?.error?.error,
    error?.data?.error,
    parsed(error?.responseBody ?? "").error,
  ];
  const code = places.map((place) => place?.code).find((code) => typeof code === "string");
  const type = error?.error?.error?.type;
  const reason = error?.details?.[0]?.reason; // Google's code is a status
  return {
    kind: kindOf(error),
    status: error?.status ?? error?.statusCode ?? error?.status_code,
    code: code ?? type ?? reason,
    message: String(error?.message ?? error),
  };
}

function kindOf(error) {
  const { name } = error?.constructor ?? {};
  if (name === "Object") return "object";
  return error?.name && error.name !== "Error" ? error.name : name;
}
