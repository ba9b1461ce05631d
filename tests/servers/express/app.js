// An Express server that streams with res.write, behind the `compression` middleware that many of them have.
"use strict";
const compression = require("compression");
const express = require("express");

const TOKENS = ["你好", "，", "world", "\n", "🌍"];
const app = express();
const endings = {};
let waiting = [];
let steps = 0;

// A token after the first is sent when somebody asks for it: whoever holds up a token is noticed.
const step = () => new Promise((resolve) => (steps > 0 ? (steps--, resolve()) : waiting.push(resolve)));
const pause = (pace) => (pace === "step" ? step() : new Promise((done) => setTimeout(done, pace * 1000)));
// The clock that all processes of the machine share.
const now = () => Number(process.hrtime.bigint()) / 1e9;

function chunk(content, finish = null) {
  const delta = content === null ? {} : { content };
  const choices = [{ index: 0, delta, finish_reason: finish }];
  return { id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: "tokens", choices };
}

app.use(compression({ threshold: 0 }));
app.use(express.json());

app.post("/v1/chat/completions", async (req, res) => {
  const { stream, pace = 0.3, endless, break_after } = req.body;
  if (!stream) return res.json(chunk(TOKENS.join(""), "stop"));
  let open = true;
  let sent = 0;
  delete endings[req.path];
  res.on("close", () => {
    open = false;
    endings[req.path] = { how: res.writableFinished ? "finished" : "closed", at: now(), tokens: sent };
  });
  res.setHeader("Content-Type", "text/event-stream");
  res.flushHeaders();
  for (; open && (endless || sent < TOKENS.length); sent++) {
    if (sent === break_after) return res.destroy(new Error("the model crashed"));
    if (sent > 0) await pause(pace);
    res.write(`data: ${JSON.stringify(chunk(TOKENS[sent % TOKENS.length]))}\n\n`);
  }
  res.write(`data: ${JSON.stringify(chunk(null, "stop"))}\n\n`);
  res.end("data: [DONE]\n\n");
});

app.post("/step", (req, res) => {
  if (waiting.length > 0) waiting.shift()();
  else steps++;
  res.end();
});

app.get("/ending", (req, res) => res.json(endings[req.query.path] ?? null));

app.listen(Number(process.argv[2]), "127.0.0.1");
