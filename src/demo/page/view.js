// The page itself: two sides, their screens and their wires, and the switches.

const html = document.documentElement;
const query = new URLSearchParams(location.search);
const byId = (id) => document.getElementById(id);
const RAW = html.dataset.raw;
const KEY = html.dataset.key;
const READER = URL.createObjectURL(
  new Blob([`${readChunks} onmessage = ({ data }) => readChunks(data);`], { type: "text/javascript" }),
);

const SCENARIOS = {
  chat: { path: "/v1/chat/completions", model: "chat", seconds: 3.6 },
  ollama: { path: "/api/chat", model: "chat", seconds: 3.6 },
  slow: { path: "/v1/chat/completions", model: "slow", seconds: 6.2 },
  truncated: { path: "/v1/chat/completions", model: "truncated", seconds: 2 },
  error: { path: "/v1/chat/completions", model: "error", seconds: 2 },
};

let words = WORDS.en;
let scenario = query.get("scenario") in SCENARIOS ? query.get("scenario") : "chat";
let running = new AbortController();

// Milliseconds on a clock that the worker has too.
const now = () => performance.timeOrigin + performance.now();

function element(name, className, text) {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// One side: what its user sees, and what came over its wire.
class Side {
  constructor(name) {
    this.name = name;
    this.base = name === "raw" ? RAW : location.origin;
    this.screen = byId("screen").content.firstElementChild.cloneNode(true);
    this.wire = byId("wire").content.firstElementChild.cloneNode(true);
    for (const part of [this.screen, this.wire]) part.classList.add(name);
    this.list = this.wire.querySelector(".chunks");
    this.reply = this.screen.querySelector(".reply");
    this.follows = true; // the newest chunk is shown, unless somebody has scrolled back
    for (const event of ["wheel", "touchmove", "keydown"]) {
      this.list.addEventListener(event, () => { this.follows = false; }, { passive: true });
    }
    this.screen.querySelector("h2").id = `${name}-title`;
    this.screen.setAttribute("aria-labelledby", `${name}-title`);
  }

  reset() {
    const { path, seconds } = SCENARIOS[scenario];
    Object.assign(this, { started: now(), errors: 0, told: null, result: null, first: null });
    this.anatomy = new Anatomy(path === "/api/chat" && this.name === "raw");
    this.span = seconds;
    this.follows = true;
    this.screen.querySelector("h2").textContent = words[this.name];
    const url = this.screen.querySelector(".url");
    url.replaceChildren(element("code", "", new URL(this.base).host), ` · ${words[`${this.name}Key`]}`);
    this.screen.querySelector(".ask").textContent = words.question;
    this.reply.replaceChildren();
    this.wire.querySelector("h3").textContent = words.wire(words[this.name]);
    this.wire.querySelector(".columns").replaceChildren(...words.columns.map((name) => element("span", "", name)));
    this.list.setAttribute("aria-label", words.wire(words[this.name]));
    this.list.firstElementChild.replaceChildren();
    this.ruler();
    this.update();
  }

  ruler() {
    const strip = this.wire.querySelector(".strip");
    strip.style.setProperty("--span", this.span);
    const marks = [];
    for (let second = 0; second < this.span; second += 1) {
      const mark = element("b", "", `${second} s`);
      mark.style.setProperty("--t", second);
      marks.push(mark);
    }
    strip.replaceChildren(...marks);
  }

  async run(signal) {
    const { path, model } = SCENARIOS[scenario];
    const headers = { "content-type": "application/json", accept: "text/event-stream" };
    if (this.name === "raw") headers.authorization = `Bearer ${KEY}`;
    const body = JSON.stringify({
      model,
      stream: true,
      messages: [{ role: "user", content: words.question }],
    });
    const options = { method: "POST", headers, body, cache: "no-store", referrerPolicy: "no-referrer" };
    const worker = new Worker(READER);
    const ended = new Promise((resolve) => {
      signal.addEventListener("abort", resolve);
      worker.addEventListener("error", resolve);
      worker.addEventListener("message", ({ data }) => {
        if (data.started) this.started = data.started;
        else if (data.chunk) this.chunk(data.chunk, (data.at - this.started) / 1000);
        else resolve(this.result = data.result);
      });
    });
    worker.postMessage({ url: this.base + path, options });
    await ended;
    worker.terminate();
    if (!signal.aborted) this.update();
  }

  chunk(bytes, seconds) {
    this.first ??= seconds;
    const segments = this.anatomy.take(bytes);
    const made = [];
    naiveClient(bytes, {
      text: (text) => this.showText(text, made),
      error: (message) => this.showError(String(message), made),
      broken: (line, error) => this.showBroken(line, error, made),
    });
    const isCut = segments.some((segment) => segment.cutBefore || segment.cutAfter);
    const isHeartbeat = segments.every((segment) => segment.kind === "heartbeat");
    const kind = isHeartbeat ? "heartbeat" : isCut ? "cut" : "whole";
    this.mark(seconds, bytes.length, kind);
    this.row(seconds, segments, made, kind);
    this.update();
  }

  showText(text, made) {
    if (text === "") return;
    made.push(element("span", "good", `+ ${JSON.stringify(text)}`));
    const last = this.reply.lastChild;
    if (last?.nodeType === Node.TEXT_NODE) last.data += text;
    else this.reply.append(text);
  }

  showError(message, made) {
    this.told = message;
    made.push(element("span", "good", `! ${message}`));
    this.reply.append(element("span", "told", message));
  }

  // The client shows nothing for what it cannot read; the page shows that there was something.
  showBroken(line, error, made) {
    this.errors += 1;
    const why = error.message.split(/ in JSON| after JSON|, |: /)[0];
    made.push(element("span", "bad", `✗ ${why}`));
    const last = this.reply.lastChild;
    if (last?.className === "debris") return; // one mark for what is missing here
    const text = line.trim();
    const isHead = /^(data:|\{)/.test(text);
    const debris = element("s", "debris", isHead ? `…${text.slice(-DEBRIS)}` : `${text.slice(0, DEBRIS)}…`);
    debris.title = words.nothing;
    this.reply.append(debris);
  }

  // A box on the time line; its height tells its size.
  mark(seconds, length, kind) {
    if (seconds > this.span) {
      this.span = seconds;
      this.wire.querySelector(".strip").style.setProperty("--span", seconds);
    }
    const box = element("i", kind);
    box.style.setProperty("--t", seconds);
    box.style.setProperty("--h", Math.min(1, Math.sqrt(length / 450)));
    this.wire.querySelector(".strip").append(box);
  }

  row(seconds, segments, made, kind) {
    const row = element("li", kind);
    const box = element("div", "box");
    for (const segment of segments) {
      const part = element("span", `segment ${segment.kind}`);
      if (segment.cutBefore) part.classList.add("cut-before");
      if (segment.cutAfter) part.classList.add("cut-after");
      for (const run of segment.runs) {
        const text = element("span", run.kind, run.text);
        if (run.title) text.title = run.title;
        part.append(text);
      }
      box.append(part);
    }
    if (kind === "heartbeat") made.push(element("span", "", words.skipped));
    const client = element("div", "made");
    client.append(...made);
    row.append(element("time", "", seconds.toFixed(2)), box, client);
    this.list.firstElementChild.append(row);
    if (this.follows) requestAnimationFrame(() => { this.list.scrollTop = this.list.scrollHeight; });
  }

  elapsed() {
    return (now() - this.started) / 1000;
  }

  // Whether it went well (null: not yet known), and what to say about it.
  verdict() {
    const { result, anatomy, errors } = this;
    const { cutCharacters, heartbeats, events } = anatomy.counts;
    if (!result) {
      if (errors > 0) return [false, words.soFarBroken(errors)];
      if (events > 0) return [true, words.soFarGood];
      if (heartbeats > 0) return [true, words.heard(heartbeats)];
      const seconds = Math.floor(this.elapsed());
      return seconds > 0 ? [null, words.waiting(seconds)] : [null, words.connecting];
    }
    if (result.failure) return [false, `${words.network} ${result.failure}`];
    if (result.refusal) return [false, `${words.refused(result.status)} ${result.refusal}`];
    if (this.told) return [true, `${words.errorTold} ${this.told}`];
    if (!anatomy.finished) return [false, anatomy.failed ? words.errorLost : words.truncated];
    if (scenario === "slow") {
      return heartbeats > 0 ? [errors === 0, words.alive(heartbeats)] : [false, words.silent(this.first.toFixed(1), errors)];
    }
    const isWhole = errors === 0 && cutCharacters === 0;
    return isWhole ? [true, words.complete] : [false, words.broken(errors, cutCharacters)];
  }

  update() {
    const [isGood, text] = this.verdict();
    const state = isGood === null ? "unknown" : isGood ? "good" : "bad";
    const verdict = this.screen.querySelector(".verdict");
    if (verdict.textContent !== text) verdict.textContent = text;
    verdict.dataset.state = state;
    this.screen.dataset.state = this.result ? "done" : "running";
    if (!this.result) this.screen.querySelector(".clock").textContent = `${this.elapsed().toFixed(1)} s`;
    const { chunks, events, cutEvents, cutCharacters } = this.anatomy.counts;
    const counts = { chunks, events, cutEvents, cutCharacters, jsonErrors: this.errors };
    const list = this.screen.querySelector(".counts");
    if (list.childElementCount === 0) {
      for (const name of Object.keys(counts)) {
        const entry = element("div");
        entry.dataset.count = name;
        entry.append(element("dt"), element("dd"));
        list.append(entry);
      }
    }
    for (const entry of list.children) {
      const name = entry.dataset.count;
      entry.firstChild.textContent = words[name];
      entry.lastChild.textContent = counts[name];
      entry.classList.toggle("bad", counts[name] > 0 && !["chunks", "events"].includes(name));
    }
  }
}

const sides = [new Side("raw"), new Side("fixed")];

async function play() {
  running.abort();
  running = new AbortController();
  const { signal } = running;
  byId("announcement").textContent = "";
  byId("about").textContent = words.about[scenario];
  for (const button of byId("scenarios").children) {
    button.setAttribute("aria-pressed", String(button.dataset.scenario === scenario));
  }
  curls();
  for (const side of sides) side.reset();
  const clock = setInterval(() => sides.forEach((side) => side.result ?? side.update()), 100);
  signal.addEventListener("abort", () => clearInterval(clock));
  await Promise.all(sides.map((side) => side.run(signal)));
  clearInterval(clock);
  if (signal.aborted) return;
  byId("announcement").textContent = sides.map((side) => `${words[side.name]}: ${side.verdict()[1]}`).join(". ");
}

// Lines to be pasted into a shell.
function curls() {
  const { path, model } = SCENARIOS[scenario];
  const body = JSON.stringify({ model, stream: true, messages: [{ role: "user", content: words.question }] });
  const accept = path === "/api/chat" ? " -H 'Accept: text/event-stream'" : "";
  const line = (base, header) => `curl -N ${base}${path}${header} -H 'Content-Type: application/json' -d '${body}'`;
  byId("curls").replaceChildren(
    command(words.raw, line(RAW, ` -H 'Authorization: Bearer ${KEY}'`), "raw"),
    command(words.fixed, line(location.origin, accept), "fixed"),
  );
  byId("own").replaceChildren(command("", `DEMO_KEY=${KEY} tidegate --upstream ${RAW} --bearer env:DEMO_KEY`, ""));
}

function command(label, text, className) {
  const made = element("div", `command ${className}`);
  const code = element("code", "", text);
  const button = element("button", "", words.copy);
  button.type = "button";
  if (label) button.setAttribute("aria-label", `${words.copy}: ${label}`);
  button.addEventListener("click", async () => {
    getSelection().selectAllChildren(code);
    // There is no clipboard on plain HTTP from another machine; the text is selected at least.
    const copied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
    if (!copied) return;
    button.textContent = words.copied;
    setTimeout(() => { button.textContent = words.copy; }, 1500);
  });
  if (label) made.append(element("span", "label", label));
  made.append(code, button);
  return made;
}

function speak(language) {
  words = WORDS[language];
  html.lang = language === "zh" ? "zh-CN" : "en";
  byId("language").textContent = words.language;
  byId("language").lang = language === "zh" ? "en" : "zh-CN";
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = words[node.dataset.text];
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", words[node.dataset.label]);
  for (const button of byId("scenarios").children) button.textContent = words.names[button.dataset.scenario];
}

// Keeps a switch in the address, so that it can be sent to somebody.
function remember(name, value) {
  query.set(name, value);
  history.replaceState(null, "", `?${query}`);
}

function build() {
  byId("duel").append(...sides.map((side) => side.screen), ...sides.map((side) => side.wire));
  byId("code").textContent = naiveClient.toString();
  for (const name of Object.keys(SCENARIOS)) {
    const button = element("button");
    button.type = "button";
    button.dataset.scenario = name;
    button.addEventListener("click", () => {
      scenario = name;
      remember("scenario", name);
      play();
    });
    byId("scenarios").append(button);
  }
  byId("again").addEventListener("click", play);
  byId("language").addEventListener("click", () => {
    const language = words === WORDS.en ? "zh" : "en";
    remember("lang", language);
    speak(language);
    play();
  });
  byId("theme").addEventListener("click", () => {
    const isDark = getComputedStyle(html).colorScheme === "dark"
      || (!html.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
    html.dataset.theme = isDark ? "light" : "dark";
    remember("theme", html.dataset.theme);
  });
  if (["light", "dark"].includes(query.get("theme"))) html.dataset.theme = query.get("theme");
}

const DEBRIS = 8; // characters

build();
speak((query.get("lang") ?? navigator.language).startsWith("zh") ? "zh" : "en");
requestAnimationFrame(() => requestAnimationFrame(play)); // the first chunks come to a page that is drawn
