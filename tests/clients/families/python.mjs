// The Python clients: one process for all of them, which takes calls and tells what it saw as lines of JSON.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

import { ANTHROPIC_REQUEST, OLLAMA_REQUEST, OPENAI_REQUEST, RESPONSES_REQUEST } from "../harness/requests.mjs";

const WORKER = fileURLToPath(new URL("python_worker.py", import.meta.url));

let worker;
let lastId = 0;
const calls = new Map();

// Ready once the packages are loaded, which takes its time.
function start({ python }, { certificate }) {
  const env = { ...process.env, SSL_CERT_FILE: certificate };
  worker = spawn(python, [WORKER], { env, stdio: ["pipe", "pipe", "inherit"] });
  process.once("exit", () => worker.kill("SIGKILL"));
  return new Promise((isReady, failed) => {
    worker.once("error", failed);
    worker.once("exit", (code) => {
      const gone = new Error(`the Python clients ended with ${code}`);
      failed(gone);
      calls.forEach(({ reject }) => reject(gone));
    });
    createInterface({ input: worker.stdout }).on("line", (line) => {
      const { ready, ...news } = JSON.parse(line);
      if (ready) isReady();
      else hear(news);
    });
  });
}

function hear({ id, chunk, name, error, leftAt }) {
  const { call, resolve, reject } = calls.get(id);
  if (chunk) return showAndReply(id, call, [chunk, name]);
  if (leftAt) call.left(leftAt);
  return error ? reject(error) : resolve();
}

// The client waits for the word before it goes on, or away.
function showAndReply(id, call, shown) {
  const leave = call.leave;
  call.leave = false;
  call.show(...shown);
  call.leave = leave;
  send({ id, go: !(leave && call.seen.text) });
}

const send = (message) => worker.stdin.write(`${JSON.stringify(message)}\n`);

const client = (name, snippet, dialect, request, more) => ({
  name,
  dialect,
  ...more,
  start,
  stop: () => worker.stdin.end(),
  run: (call) =>
    new Promise((resolve, reject) => {
      const id = ++lastId;
      calls.set(id, { call, resolve, reject });
      const { base, path, dialect, key, maxRetries } = call;
      send({ id, snippet, base, url: base + path, dialect, key, request, max_retries: maxRetries });
    }),
});

export const clients = [
  client("openai, Python", "openai_chat", "openai-chat", OPENAI_REQUEST),
  client("openai, Python, TLS", "openai_chat", "openai-chat", OPENAI_REQUEST, { listener: "tls", isVariant: true }),
  client("openai, Python, Responses", "openai_chat.respond", "openai-responses", RESPONSES_REQUEST),
  client("anthropic, Python", "anthropic_messages", "anthropic", ANTHROPIC_REQUEST),
  client("httpx-sse, Python", "httpx_sse_chat", "openai-chat", OPENAI_REQUEST, { speaksAll: true }),
  client("ollama, Python", "ollama_chat", "ollama", OLLAMA_REQUEST),
];
