// The generated parts of docs/clients.md and its Chinese edition: the matrix as it was seen, the versions, and the
// code that the tests run.

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { DIRECT } from "../expected.mjs";
import { COLUMNS } from "./grid.mjs";

const file = (name) => fileURLToPath(new URL(`../../../${name}`, import.meta.url));
const here = (name) => readFileSync(new URL(`../${name}`, import.meta.url), "utf8");

// Columns of the tables.
const DIRECT_GROUPS = ["ends short", "breaks", "HTML page"];
const GROUPS = ["whole", "ends short", "breaks", "error event", "429", "500", "HTML page", "leaves", "asks again"];

const EDITIONS = {
  "docs/clients.md": {
    client: "client",
    groups: GROUPS,
    short: "short, no error",
    version: ["package", "version"],
  },
  "docs/clients.zh-CN.md": {
    client: "客户端",
    groups: ["完整", "提前结束", "中断", "错误事件", "429", "500", "HTML 页面", "离开", "重试"],
    short: "缺了一截，没有报错",
    version: ["包", "版本"],
  },
};

const row = (cells) => `| ${cells.join(" | ")} |\n`;
const table = (head, rows) => row(head) + row(head.map(() => "---")) + rows.map(row).join("");

function cell(results, { short }) {
  if (!results.length) return "–";
  const said = [...new Set(results.map(({ said }) => said))];
  const words = said.map((word) => word.replace(/^(whole|left)/, "✓").replace(/, (\d+) requests/, " ×$1"));
  return words.map((word) => (word.startsWith("SHORT") ? short : word.replace(/^([^✓].*)$/, "`$1`"))).join(", ");
}

function matrix(clients, results, groups, edition) {
  const of = (client, group) =>
    results.filter((result) => result.client === client && result.behaviour.group === group);
  const head = [edition.client, ...groups.map((group) => edition.groups[GROUPS.indexOf(group)])];
  const name = (client) => client.name.replace(DIRECT, "");
  return table(
    head,
    clients.map((client) => [name(client), ...groups.map((group) => cell(of(client, group), edition))]),
  );
}

function versions({ version }) {
  const { dependencies } = JSON.parse(here("package.json"));
  const node = Object.entries(dependencies).filter(([name]) => !["playwright-core", "zod"].includes(name));
  const python = [...here("requirements.txt").matchAll(/^([^#\s]+)==(\S+)$/gm)].map(([, name, version]) => [
    `${name} (Python)`,
    version,
  ]);
  const named = python.filter(([name]) => /^(openai|anthropic|httpx-sse|ollama) /.test(name));
  return table(version, [...node, ...named]);
}

// The text with its generated parts as they should be. Without results the matrix stays.
function generated(text, edition, { clients, results, grid }) {
  const between = (text, name, content) =>
    text.replace(new RegExp(`(<!-- ${name} -->\n)[^]*?(<!-- /${name} -->)`), (_, begin, end) => begin + content + end);
  const withVersions = between(text, "versions", versions(edition));
  const tables = {
    matrix: [(client) => !client.isDirect, GROUPS],
    direct: [(client) => client.isDirect, DIRECT_GROUPS],
  };
  const withGrid = results
    ? between(withVersions, "grid", table([edition.client, ...COLUMNS.map((name) => `\`${name}\``)], grid))
    : withVersions;
  const whole = Object.entries(results ? tables : {}).reduce(
    (text, [name, [isIn, groups]]) => between(text, name, matrix(clients.filter(isIn), results, groups, edition)),
    withGrid,
  );
  return whole.replace(
    /(<!-- snippet (\S+) -->\n```\w+\n)[^]*?(```)/g,
    (_, begin, name, end) => begin + here(`snippets/${name}`) + end,
  );
}

// The letters of exceptions that the table has and the text below it does not explain, or the other way round.
function unexplained(text, grid) {
  const used = new Set(grid.flat().flatMap((cell) => /^✓ (\w)$/.exec(cell)?.[1] ?? []));
  const told = new Set([...text.matchAll(/^- \*\*(\w)\*\*/gm)].map(([, letter]) => letter));
  return [...used, ...told].filter((letter) => !used.has(letter) || !told.has(letter));
}

// What is wrong with the documents; with `write`, sets it right.
export function check({ write, ...seen }) {
  return Object.entries(EDITIONS).flatMap(([name, edition]) => {
    const text = readFileSync(file(name), "utf8");
    const wanted = generated(text, edition, seen);
    const letters = seen.results ? unexplained(text, seen.grid) : [];
    const wrong = letters.map((letter) => `${name}: ${letter} is not both in the table and explained below it`);
    if (text === wanted) return wrong;
    if (write) writeFileSync(file(name), wanted);
    const stale = `${name} differs from what was seen or from the code of the tests`;
    return write ? wrong : [...wrong, `${stale}: run tests/clients/run BINARY --write`];
  });
}
