// Runs every client against every behaviour, many at a time, and prints what came of it.

import { BEHAVIOURS } from "./behaviours.mjs";
import { DIALECTS } from "./answers.mjs";
import { Call } from "./call.mjs";
import { problems, verdict } from "./judge.mjs";
import { CLIENT_KEY } from "./tidegate.mjs";
import { UPSTREAM_KEY } from "./upstream.mjs";

// Most of them wait most of the time.
const CALL_LANES = 32;
const CLIENT_LANES = 8;
const CALL_MS = 120_000;
const CLOSE_MS = 1500;

const slug = (text) => String(text).replace(/[^A-Za-z0-9]+/g, "-");

// One call; never throws.
async function runCase(client, behaviour, { tidegate, upstream, seed }) {
  const id = [client.name, client.dialect, behaviour.name, seed].map(slug).join(".");
  const { isDirect, method } = client;
  const record = upstream.expect(id, behaviour, { seed, isDirect, method });
  const origin = isDirect ? `http://127.0.0.1:${upstream.port}` : tidegate[client.listener ?? "plain"];
  const dialect = DIALECTS[client.dialect];
  const call = new Call({
    base: `${origin}${client.route ?? ""}/${id}`,
    path: dialect.path,
    origins: tidegate,
    dialect: client.dialect.split(",")[0],
    key: isDirect ? UPSTREAM_KEY : CLIENT_KEY,
    collect: client.collect ?? client.dialect,
    leave: behaviour.end === "never",
    maxRetries: behaviour.first ? 2 : 0,
    seed,
  });
  const result = await within(call.run(client.run), CALL_MS, call);
  if (call.leftAt) await until(() => record.closed, CLOSE_MS);
  const requests = record.requests.length;
  const said = verdict(result, dialect.whole, requests);
  // What goes wrong without tidegate is what it is for.
  const wrong = isDirect
    ? [...record.problems]
    : problems(result, { client, behaviour, dialect, record, access: await tidegate.access(id, requests), said });
  wrong.push(...(client.check?.(call, behaviour) ?? []));
  const leftIn = call.leftAt && Math.round(record.closed - call.leftAt);
  return { client, behaviour, said, wrong, leftIn, error: result.error, seen: result.seen };
}

function within(promise, ms, { seen }) {
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(() => resolve({ seen, error: { kind: `nothing in ${ms} ms` } }), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

async function until(holds, ms) {
  const end = Date.now() + ms;
  while (!holds() && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 5));
}

// Every case that `expected` has a word on.
export function cases(clients, expected) {
  const all = BEHAVIOURS.flatMap((behaviour) =>
    clients.map((client) => ({ client, behaviour, wanted: expected(client, behaviour) })),
  );
  const judge = (wanted) => (result) =>
    result.said === wanted ? [] : [`it says "${result.said}" instead of "${wanted}"`];
  return all.filter(({ wanted }) => wanted !== undefined).map((one) => ({ ...one, judge: judge(one.wanted) }));
}

// All cases, each as its `judge` wants it; those that measure time afterwards, one by one.
export async function runAll(cases, context) {
  const run = async ({ client, behaviour, judge }) => {
    const result = await runCase(client, behaviour, context);
    return { ...result, wrong: [...judge(result), ...result.wrong] };
  };
  const isTimed = ({ behaviour }) => Boolean(behaviour.isTimed);
  const together = await inLanes(cases.filter((one) => !isTimed(one)), CALL_LANES, run);
  return [...together, ...(await inLanes(cases.filter(isTimed), 1, run))];
}

// At most `width` cases at a time, and at most `lanes` of one client.
async function inLanes(waiting, width, run) {
  const running = new Map();
  const results = [];
  const same = (client) => client.of ?? client;
  const count = (client, more) => running.set(same(client), (running.get(same(client)) ?? 0) + more);
  const lane = async () => {
    while (waiting.length) {
      const at = waiting.findIndex(({ client }) => (running.get(same(client)) ?? 0) < (client.lanes ?? CLIENT_LANES));
      if (at < 0) {
        await new Promise((resolve) => setTimeout(resolve, 10));
        continue;
      }
      const [next] = waiting.splice(at, 1);
      count(next.client, 1);
      results.push(await run(next));
      count(next.client, -1);
    }
  };
  await Promise.all(Array.from({ length: width }, lane));
  return results;
}

// The matrix, and why what failed has failed; returns how many failed.
export function print(clients, results, grid) {
  const width = Math.max(...clients.map(({ name }) => name.length)) + 2;
  const word = (client, behaviour) => {
    const result = results.find((result) => result.client === client && result.behaviour === behaviour);
    return result ? (result.wrong.length ? "FAILED " : "ok     ") : "-      ";
  };
  BEHAVIOURS.forEach(({ name }, index) => console.log(" ".repeat(width) + "|      ".repeat(index) + name));
  for (const client of clients) {
    console.log(client.name.padEnd(width) + BEHAVIOURS.map((behaviour) => word(client, behaviour)).join(""));
  }
  grid.forEach(([name, ...cells]) => console.log(name.padEnd(width) + cells.map((cell) => cell.padEnd(5)).join("")));
  const failed = results.filter(({ wrong }) => wrong.length);
  for (const { client, behaviour, wrong, error, seen } of failed) {
    console.log(`\nFAILED ${client.name} × ${client.dialect} × ${behaviour.name}`);
    wrong.forEach((line) => console.log(`  ${line}`));
    console.log(`  its error: ${JSON.stringify(error)}, it saw: ${JSON.stringify(seen)}`);
  }
  const left = results.filter(({ leftIn }) => leftIn !== undefined).sort((one, other) => one.leftIn - other.leftIn);
  const times = left.map(({ client, leftIn }) => `${leftIn} ms ${client.name}`);
  if (times.length) console.log(`\nfrom a client that leaves to its upstream's closed socket: ${times.join("; ")}`);
  return failed.length;
}
