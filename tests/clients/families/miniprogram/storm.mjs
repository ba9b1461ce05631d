// Random streams, cut and glued at random by the upstream, and otherwise at random on the way to a mini-program, on the
// route of mini-programs: not a character and not an event may suffer.

import http from "node:http";

import { DIALECTS } from "../../harness/answers.mjs";
import { randomStream } from "../../harness/random_stream.mjs";
import { OPENAI_REQUEST } from "../../harness/requests.mjs";
import { CLIENT_KEY } from "../../harness/tidegate.mjs";
import { UPSTREAM_KEY } from "../../harness/upstream.mjs";
import { DIALECTS as ENDS } from "../../snippets/answer.js";
import { Naive, textReader } from "./by_reads.mjs";
import { READS, chat, emulated } from "./emulated.mjs";

const DIALECT = ENDS["openai-chat"];
const { path } = DIALECTS["openai-chat"];
const CONNECTIONS = 64;
const STREAM_MS = 60_000;

// What a program put together of one stream, to be compared with what the upstream said.
class Heard {
  text = "";
  reasoning = "";
  args = "";
  events = 0;
  // Of those, empty deltas of tidegate's own, which its access line does not count.
  heartbeats = 0;

  show = ({ choices: [choice], usage }) => {
    this.events += 1;
    if (choice && !Object.keys(choice.delta).length && !choice.finish_reason) this.heartbeats += 1;
    if (usage) this.usage = usage;
    if (!choice) return;
    this.text += choice.delta.content ?? "";
    this.reasoning += choice.delta.reasoning_content ?? "";
    this.args += choice.delta.tool_calls?.[0].function.arguments ?? "";
    this.finish = choice.finish_reason ?? this.finish;
  };

  // What differs, in words.
  faults(said) {
    const broken = [this.text, this.reasoning, this.args].join("").split("\ufffd").length - 1;
    const differing = Object.keys(said).filter((key) => JSON.stringify(this[key]) !== JSON.stringify(said[key]));
    return [...(broken ? [`${broken} broken characters`] : []), ...differing.map((key) => `another ${key}`)];
  }
}

// One stream through `base`, read in this way by three clients at once: the page's, one with a new decoder per read,
// and the naive one.
async function play(base, key, { seed, agent, reads, referer = "" }) {
  const byBytes = new Heard();
  const byText = new Heard();
  const naive = new Naive();
  const reader = textReader(DIALECT, byText.show);
  const count = { bytes: 0, reads: 0 };
  let thrown;
  const tap = (data) => {
    count.bytes += data.byteLength;
    count.reads += 1;
    naive.take(data);
    try {
      reader.take(data);
    } catch (error) {
      thrown ??= error;
    }
  };
  const error = await new Promise((resolve) => {
    const timer = setTimeout(() => resolve(new Error(`not done in ${STREAM_MS / 1000} s`)), STREAM_MS);
    const settle = (error) => {
      clearTimeout(timer);
      resolve(error);
    };
    chat({
      api: emulated({ seed, reads, agent, referer, tap }),
      url: `${base}${path}`,
      key,
      dialect: DIALECT,
      request: OPENAI_REQUEST,
      show: byBytes.show,
      done: () => settle(),
      fail: settle,
    });
  });
  return { byBytes, byText, naive, count, error, thrown: thrown ?? reader.answer.missing() };
}

// Many streams over kept connections, some at a time.
async function each(seeds, work) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  const waiting = [...seeds];
  const lane = async () => {
    for (let seed; (seed = waiting.pop()) !== undefined;) await work(seed, agent);
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, lane));
  agent.destroy();
}

// An upstream sends no empty deltas here; the end marker is no event to a program.
function lost(events, access) {
  const sent = access && access.events - 1;
  return events === sent ? [] : [`${events} of ${sent} events`];
}

const seedsFrom = (first, count) => Array.from({ length: count }, (_, index) => first + index);
const percent = (part, whole) => `${((100 * part) / whole).toFixed(1)} %`;

export async function randomStreams({ tidegate, upstream, seed: first, streams }) {
  const wrong = [];
  const total = { events: 0, heartbeats: 0, bytes: 0, reads: 0, naive: 0 };
  const begin = Date.now();
  await each(seedsFrom(first, streams), async (seed, agent) => {
    const { said, behaviour } = randomStream(seed);
    const id = `random.${seed}`;
    const record = upstream.expect(id, behaviour);
    const heard = await play(`${tidegate.plain}/mini/${id}`, CLIENT_KEY, { seed, agent });
    upstream.forget(id);
    const access = await tidegate.access(id, 1);
    const { byBytes, byText, naive, count, error, thrown } = heard;
    const faults = [
      ...record.problems,
      ...[error, thrown].filter(Boolean).map(({ message }) => message),
      ...byBytes.faults(said),
      ...byText.faults(said).map((fault) => `decoded by reads: ${fault}`),
      ...(access?.outcome === "done" ? [] : [`its outcome is ${access?.outcome}`]),
      ...[byBytes, byText].flatMap(({ events, heartbeats }) => lost(events - heartbeats, access)),
    ];
    wrong.push(...faults.map((fault) => `seed ${seed}: ${fault}`));
    total.events += byBytes.events;
    total.heartbeats += byBytes.heartbeats;
    total.naive += naive.events;
    total.bytes += count.bytes;
    total.reads += count.reads;
  });
  const seconds = ((Date.now() - begin) / 1000).toFixed(1);
  const line = [
    `${streams} random streams from seed ${first} in ${seconds} s: ${total.events} events, ${total.heartbeats} of them heartbeats,`,
    `${(total.bytes / 1e6).toFixed(1)} MB in ${total.reads} reads; ${wrong.length} wrong;`,
    `who takes a read for an event loses ${percent(total.events - total.naive, total.events)}`,
  ].join(" ");
  return { line, wrong };
}

const NAIVE_STREAMS = 60;

// What the naive client loses is not asserted but told: by the way to it, and by how reads fall.
export async function naiveRates({ tidegate, upstream, seed: first }) {
  const ways = [
    ["without tidegate", `http://127.0.0.1:${upstream.port}`, UPSTREAM_KEY, true],
    ["through tidegate", tidegate.plain, CLIENT_KEY, false],
    ["on a route for mini-programs", `${tidegate.plain}/mini`, CLIENT_KEY, false],
  ];
  const lines = [];
  for (const [way, origin, key, isDirect] of ways) {
    for (const reads of READS) {
      const total = { events: 0, naive: 0, broken: 0 };
      await each(seedsFrom(first, NAIVE_STREAMS), async (seed, agent) => {
        const id = `naive.${way}.${reads}.${seed}`.replaceAll(" ", "-");
        upstream.expect(id, randomStream(seed).behaviour, { isDirect });
        const { byBytes, naive } = await play(`${origin}/${id}`, key, { seed, agent, reads });
        upstream.forget(id);
        total.events += byBytes.events;
        total.naive += naive.events;
        total.broken += naive.broken;
      });
      const lost = percent(total.events - total.naive, total.events);
      lines.push(`a read taken for an event, ${way}, reads ${reads}: ${lost} lost, ${total.broken} broken characters`);
    }
  }
  return { line: lines.join("\n"), wrong: [] };
}
