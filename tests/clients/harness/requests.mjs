// What clients ask for, in the words of each dialect.

import { TOOLS } from "./answers.mjs";

export const PROMPT = "你好 🌍";

const messages = [{ role: "user", content: PROMPT }];

export const OPENAI_REQUEST = {
  model: "m",
  messages,
  tools: [{ type: "function", function: TOOLS }],
  stream_options: { include_usage: true },
};

export const RESPONSES_REQUEST = { model: "m", input: PROMPT };

export const ANTHROPIC_REQUEST = {
  model: "m",
  max_tokens: 1000,
  messages,
  tools: [{ name: TOOLS.name, description: TOOLS.description, input_schema: TOOLS.parameters }],
};

export const OLLAMA_REQUEST = { model: "m", messages, tools: [{ type: "function", function: TOOLS }] };
