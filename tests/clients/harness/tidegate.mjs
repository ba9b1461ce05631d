// The tidegate under test: a real process with a real configuration, and its access lines.

import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";

import { UPSTREAM_KEY } from "./upstream.mjs";

export const CLIENT_KEY = "client-key-of-tidegate";

const START_MS = 10_000;

const GUARDED = `upstream = "scripted"
inject = [{ bearer = "env:UPSTREAM_KEY" }, { header = "x-api-key", value = "env:UPSTREAM_KEY" }]
client_key = "env:CLIENT_KEY"`;

// The position of `server.takeover` that a run is to be in, as for the other tests; its default without.
export const TAKEOVER = process.env.TIDEGATE_TEST_TAKEOVER;

const config = (dir, upstream) => `
[[listener]]
address = "127.0.0.1:0"

# Another origin for browsers.
[[listener]]
address = "127.0.0.1:0"

[[listener]]
address = "127.0.0.1:0"
tls = { cert = "${dir}/cert.pem", key = "${dir}/key.pem" }

[upstream.scripted]
url = "http://127.0.0.1:${upstream}"

[[route]]
path = "/"
${GUARDED}

# What EventSource asks for is known as an AI stream by nothing but this setting.
[[route]]
path = "/stream"
strip_prefix = true
${GUARDED}
stream = { intent = "stream" }

[[route]]
path = "/mini"
strip_prefix = true
${GUARDED}
stream = { profile = "miniprogram", heartbeat = "50ms" }

[[route]]
path = "/uni"
strip_prefix = true
${GUARDED}
stream = { intent = "stream", profile = "uniappx" }

# Browsers ask whether they may send a key without sending it.
[[route]]
path = "/"
methods = ["OPTIONS"]
upstream = "scripted"

[[route]]
path = "/page"
upstream = "scripted"

[stream]
heartbeat = "1s"

[log]
format = "json"
${TAKEOVER ? `\n[server]\ntakeover = "${TAKEOVER}"\n` : ""}`;

export class Tidegate {
  // Access lines by the segments of their paths, one of which names the case.
  #requests = new Map();
  #complaints = [];
  #waiting = new Map();

  static async start(binary, upstreamPort) {
    const dir = mkdtempSync(path.join(tmpdir(), "tidegate-clients-"));
    const tidegate = new Tidegate();
    tidegate.dir = dir;
    tidegate.certificate = certificate(dir);
    writeFileSync(path.join(dir, "config.toml"), config(dir, upstreamPort));
    const child = spawn(binary, ["serve", "--config", path.join(dir, "config.toml")], {
      env: { PATH: process.env.PATH, UPSTREAM_KEY, CLIENT_KEY },
      stdio: ["ignore", "pipe", "pipe"],
    });
    tidegate.child = child;
    process.once("exit", () => child.kill("SIGKILL"));
    createInterface({ input: child.stderr }).on("line", (line) => tidegate.#log(line));
    const [plain, other, tls] = await ready(child);
    Object.assign(tidegate, { plain, other, tls });
    return tidegate;
  }

  // The access line of the last request of a case. The names of cases hold a dot.
  async access(id, requests, deadline = 5000) {
    const end = Date.now() + deadline;
    for (;;) {
      const lines = this.#requests.get(id) ?? [];
      if (lines.length >= requests) return lines.at(-1);
      if (Date.now() > end) return undefined;
      await new Promise((resolve) => {
        this.#waiting.set(id, resolve);
        setTimeout(resolve, Math.max(1, end - Date.now())).unref();
      });
    }
  }

  // Whether it ended well, and what else it logged.
  async stop() {
    const exit = new Promise((resolve) => this.child.once("exit", (code, signal) => resolve(code ?? signal)));
    if (this.child.exitCode === null) this.child.kill("SIGTERM");
    const last = setTimeout(() => this.child.kill("SIGKILL"), 10_000);
    const code = this.child.exitCode ?? (await exit);
    clearTimeout(last);
    rmSync(this.dir, { recursive: true });
    return { code, complaints: this.#complaints };
  }

  #log(text) {
    const line = parsed(text);
    if (line.level === "error") this.#complaints.push(text);
    // What the browser asks by itself is no request of a case.
    if (line.message !== "request" || line.method === "OPTIONS") return;
    const id = line.path?.split("/").find((segment) => segment.includes("."));
    this.#requests.set(id, [...(this.#requests.get(id) ?? []), line]);
    this.#waiting.get(id)?.();
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return { level: "error" };
  }
}

function ready(child) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("tidegate is not ready after 10 s")), START_MS);
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`tidegate ended with ${code} before it was ready`)));
    createInterface({ input: child.stdout }).once("line", (line) => {
      clearTimeout(timer);
      resolve(line.split(" ready on ")[1].split(" "));
    });
  });
}

function certificate(dir) {
  const args =
    "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1";
  const cert = `${dir}/cert.pem`;
  execFileSync("openssl", [...args.split(" "), "-keyout", `${dir}/key.pem`, "-out", cert], { stdio: "ignore" });
  return cert;
}
