// curl. It knows nothing of events, so this looks at the bytes: they must be what tidegate promises, whatever came.

import { spawn } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import path from "node:path";

import { OPENAI_REQUEST } from "../harness/requests.mjs";
import { eventOf } from "../snippets/sse.js";

const SCRIPT = readFileSync(new URL("../snippets/curl.sh", import.meta.url), "utf8");

// Heartbeats, then one event: LF only, fields in order, one line of data.
const CANONICAL = /^(:\n)*(event: [^\n]*\n)?(id: [^\n]*\n)?(retry: \d+\n)?data: [^\n\r]+$/;

// What a user with a certificate of his own has in his settings, and HTTP/1.1, since curl prefers HTTP/2 over TLS.
function start(options, { dir, certificate }) {
  writeFileSync(path.join(dir, ".curlrc"), `http1.1\ncacert = ${certificate}\n`);
}

async function run(call, settings) {
  const env = {
    ...settings,
    PATH: process.env.PATH,
    BASE: call.base,
    KEY: call.key,
    REQUEST: JSON.stringify({ ...OPENAI_REQUEST, stream: true }),
  };
  // A group of its own: the shell and curl leave together.
  const child = spawn("sh", ["-c", SCRIPT], { env, detached: true, stdio: ["ignore", "pipe", "ignore"] });
  const exit = new Promise((resolve) => child.once("close", resolve));
  call.signal.addEventListener("abort", () => process.kill(-child.pid, "SIGTERM"));
  let text = "";
  let inBand;
  child.stdout.setEncoding("utf8");
  for await (const piece of child.stdout) {
    const blocks = (text + piece).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) inBand = look(block, call) ?? inBand;
  }
  const code = await exit;
  if (code === 22) throw { kind: "exit 22", code: JSON.parse(text).error.code };
  if (call.leftAt) return;
  if (text) throw new Error(`not whole: ${JSON.stringify(text)}`);
  // curl itself is content: the error is the last event that it prints.
  if (inBand) throw { kind: `exit ${code}`, code: inBand.code };
  if (code !== 0) throw { kind: `exit ${code}` };
}

// Shows an event; returns the error that it tells of.
function look(block, call) {
  if (!CANONICAL.test(block)) throw new Error(`not canonical: ${JSON.stringify(block)}`);
  call.heartbeats = (call.heartbeats ?? 0) + /^(:\n)*/.exec(block)[0].length / 2;
  const { data } = eventOf(block);
  if (data === "[DONE]") return undefined;
  const chunk = JSON.parse(data);
  if (!chunk.error) call.show(chunk);
  return chunk.error;
}

const curl = {
  name: "curl",
  dialect: "openai-chat",
  run,
  // Others cannot show their heartbeats; here they must be.
  check: (call, behaviour) =>
    behaviour.name === "silent" && call.heartbeats !== 3 ? [`${call.heartbeats} heartbeats instead of 3`] : [],
};

export const clients = [
  curl,
  {
    ...curl,
    name: "curl, TLS",
    listener: "tls",
    isVariant: true,
    start,
    run: (call) => run(call, { CURL_HOME: call.origins.dir }),
  },
];
