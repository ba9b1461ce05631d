// Vercel's `ai` with the provider for servers that speak as OpenAI does.

import { jsonSchema, tool } from "ai";

import { TOOLS } from "../harness/answers.mjs";
import { PROMPT } from "../harness/requests.mjs";
import { chat } from "../snippets/vercel-ai.mjs";

const tools = {
  [TOOLS.name]: tool({ description: TOOLS.description, inputSchema: jsonSchema(TOOLS.parameters) }),
};

export const clients = [
  {
    name: "Vercel ai",
    dialect: "openai-chat",
    collect: "vercel-ai",
    run: (call) => chat(Object.assign(call, { prompt: PROMPT, tools })),
  },
];
