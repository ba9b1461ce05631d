// OpenAI's own package for Node.

import { OPENAI_REQUEST } from "../harness/requests.mjs";
import { chat } from "../snippets/openai.mjs";

export const clients = [
  {
    name: "openai, Node",
    dialect: "openai-chat",
    run: (call) => chat(Object.assign(call, { request: OPENAI_REQUEST })),
  },
];
