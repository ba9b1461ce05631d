// Real clients through a real tidegate. `run` installs what this needs, and calls it.

import { parseArgs } from "node:util";

import { DIRECT, EXPECTED, expected } from "./expected.mjs";
import { check } from "./harness/docs.mjs";
import { cells, rows } from "./harness/grid.mjs";
import { cases, print, runAll } from "./harness/matrix.mjs";
import { CLIENT_KEY, TAKEOVER, Tidegate } from "./harness/tidegate.mjs";
import { Upstream } from "./harness/upstream.mjs";

const FAMILIES = [
  "openai",
  "anthropic",
  "python",
  "vercel",
  "ollama",
  "curl",
  "browser",
  "eventsource",
  "miniprogram",
  "uniappx",
];
// Runs took 57 to 120 s on two busy cores; each random stream more than the usual adds its part.
const TOTAL_MS = 420_000;
const STREAM_MS = 60;
const USUAL_STREAMS = 1000;
// Where `server.takeover` is not in its usual position.
const OTHER_STREAMS = 200;

// The setting is about streams over HTTP/1.1; a run that is about it leaves everything else to the usual one.
const isConcerned = ({ isDirect, version = "HTTP/1.1" }) => !TAKEOVER || (!isDirect && version === "HTTP/1.1");

// The clients with `filter` in their names, out of all; each of all must have its expectations, and no others be there.
function select(families, filter) {
  const through = families.flatMap(({ clients }) => clients);
  const direct = through.map((client) => ({ ...client, name: `${client.name}${DIRECT}`, isDirect: true }));
  const all = [...through, ...direct.filter(({ name }) => name in EXPECTED)];
  const strangers = [...all.map(({ name }) => name), ...Object.keys(EXPECTED)].filter(
    (name, _, names) => names.filter((other) => other === name).length !== 2,
  );
  if (strangers.length) throw new Error(`these are not both clients and expectations: ${strangers.join(", ")}`);
  const clients = all.filter((client) => client.name.includes(filter) && isConcerned(client));
  if (!clients.length)
    throw new Error(`no client is called ${filter}; there are: ${all.map(({ name }) => name).join("; ")}`);
  return clients;
}

async function main() {
  const { values: options, positionals } = parseArgs({
    options: {
      binary: { type: "string" },
      python: { type: "string" },
      chromium: { type: "string" },
      seed: { type: "string", default: String(Date.now() % 1_000_000) },
      streams: { type: "string", default: String(TAKEOVER ? OTHER_STREAMS : USUAL_STREAMS) },
      write: { type: "boolean", default: false },
    },
    allowPositionals: true,
  });
  const [filter = ""] = positionals;
  endWithin(TOTAL_MS + STREAM_MS * Math.max(0, Number(options.streams) - USUAL_STREAMS));
  const families = await Promise.all(FAMILIES.map((name) => import(`./families/${name}.mjs`)));
  const clients = select(families, filter);

  const upstream = new Upstream();
  await upstream.start(CLIENT_KEY);
  const tidegate = await Tidegate.start(options.binary, upstream.port);
  const context = { tidegate, upstream, seed: Number(options.seed), streams: Number(options.streams) };
  const once = (name) =>
    Promise.all([...new Set(clients.map((client) => client[name]))].map((work) => work?.(options, tidegate)));
  await once("start");
  const results = await runAll([...cases(clients, expected), ...cells(clients)], context);
  const grid = rows(clients, results);
  let failures = print(clients, results, grid);
  const extras = families
    .filter((family) => family.clients.some((client) => clients.includes(client)))
    .flatMap(({ extras = [], figures = [] }) => [...extras, ...(TAKEOVER ? [] : figures)]);
  for (const extra of extras) {
    const { line, wrong } = await extra(context);
    console.log(["", line, ...wrong.slice(0, 10)].join("\n"));
    failures += wrong.length;
  }
  await once("stop");
  const { code, complaints } = await tidegate.stop();
  upstream.stop();

  const left = code === 0 ? [] : [`tidegate ended with ${code}`];
  // A matrix of some clients, or of failures, is not one for the documentation.
  const isPart = filter || TAKEOVER || failures;
  const documents = check({ clients, results: isPart ? undefined : results, grid, write: options.write });
  const wrong = [...left, ...complaints, ...documents];
  wrong.forEach((line) => console.log(`FAILED ${line}`));
  const position = TAKEOVER ? `, server.takeover = "${TAKEOVER}"` : "";
  const failed = failures + wrong.length;
  console.log(`\n${clients.length} clients, ${results.length} cases, ${failed} failed (seed ${options.seed}${position})`);
  process.exit(failures + wrong.length ? 1 : 0);
}

function endWithin(ms) {
  setTimeout(() => {
    console.error(`FAILED: not done after ${ms / 1000} s`);
    process.exit(1);
  }, ms).unref();
}

main().catch((error) => {
  console.error("FAILED:", error);
  process.exit(1);
});
