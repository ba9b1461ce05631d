// Ollama's own package for Node. It reads newline-delimited JSON, which leaves tidegate line by line.

import { OLLAMA_REQUEST } from "../harness/requests.mjs";
import { chat } from "../snippets/ollama.mjs";

export const clients = [
  {
    name: "ollama, Node",
    dialect: "ollama",
    run: (call) => chat(Object.assign(call, { request: OLLAMA_REQUEST })),
  },
];
