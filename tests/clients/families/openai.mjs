// OpenAI's own package for Node.

import { OPENAI_REQUEST, RESPONSES_REQUEST } from "../harness/requests.mjs";
import { chat, respond } from "../snippets/openai.mjs";

export const clients = [
  {
    name: "openai, Node",
    dialect: "openai-chat",
    run: (call) => chat(Object.assign(call, { request: OPENAI_REQUEST })),
  },
  {
    name: "openai, Node, Responses",
    dialect: "openai-responses",
    run: (call) => respond(Object.assign(call, { request: RESPONSES_REQUEST })),
  },
];
