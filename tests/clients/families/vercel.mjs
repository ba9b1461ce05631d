// Vercel's `ai` with the provider for servers that speak as OpenAI does.

import { jsonSchema, tool } from "ai";

import { TOOLS } from "../harness/answers.mjs";
import { PROMPT } from "../harness/requests.mjs";
import { chat } from "../snippets/vercel-ai.mjs";
import { chat as chatUi } from "../snippets/vercel-ui.mjs";

const tools = {
  [TOOLS.name]: tool({ description: TOOLS.description, inputSchema: jsonSchema(TOOLS.parameters) }),
};

const MESSAGES = [{ id: "m-1", role: "user", parts: [{ type: "text", text: PROMPT }] }];

export const clients = [
  {
    name: "Vercel ai",
    dialect: "openai-chat",
    collect: "vercel-ai",
    run: (call) => chat(Object.assign(call, { prompt: PROMPT, tools })),
  },
  {
    name: "Vercel ai, UI messages",
    dialect: "vercel-ui",
    route: "/stream",
    run: (call) => chatUi(Object.assign(call, { url: call.base + call.path, messages: MESSAGES })),
  },
];
