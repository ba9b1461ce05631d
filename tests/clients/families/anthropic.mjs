// Anthropic's own package for Node.

import { ANTHROPIC_REQUEST } from "../harness/requests.mjs";
import { chat } from "../snippets/anthropic.mjs";

export const clients = [
  {
    name: "@anthropic-ai/sdk, Node",
    dialect: "anthropic",
    run: (call) => chat(Object.assign(call, { request: ANTHROPIC_REQUEST })),
  },
];
