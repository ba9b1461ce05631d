// The table of clients and dialects: each client of any stream is run with each dialect and each ending; a package that
// speaks one dialect counts with what it came to there.

import { DIALECTS } from "./answers.mjs";
import { BEHAVIOURS } from "./behaviours.mjs";
import { OVERLOADED } from "./parts.mjs";

export const COLUMNS = [
  "openai-chat",
  "openai-responses",
  "anthropic",
  "gemini",
  "ollama",
  "dashscope",
  "dify",
  "coze",
  "ag-ui",
  "vercel-ui",
  "mcp",
  "generic",
];

export const ENDINGS = ["clean", "cut in events", "slow", "silent", "ends short", "breaks, FIN", "error event"];

const TOLD_OF_BREAK = "told of the break";
const TOLD_OF_ERROR = "told of the error";
const WHOLE = "whole";
const UNFINISHED = "unfinished";
const CUT = "cut";

const ORDINARY = { "ends short": TOLD_OF_BREAK, breaks: TOLD_OF_BREAK, "error event": TOLD_OF_ERROR };

// Cells that cannot be as all others: the letter under which the documentation tells why, and what becomes of them.
const EXCEPTIONS = {
  // Nothing is invented that a client could take for its server's: clients resume.
  mcp: { letter: "a", "ends short": UNFINISHED, breaks: CUT },
  // Nobody but the program knows how its stream ends.
  generic: { letter: "b", "ends short": UNFINISHED },
  // Ollama's own packages get lines, and are told of a break in words alone: they keep no code.
  ollama: { letter: "c" },
};

// How a stream of this dialect is called where clients of events read it.
const asEvents = (column) => (column === "ollama" ? "ollama, as events" : column);

const endings = () => ENDINGS.map((name) => BEHAVIOURS.find((behaviour) => behaviour.name === name));

// The cells that no other table has run already.
export function cells(clients) {
  const all = clients.filter(({ speaksAll }) => speaksAll);
  const variants = all.flatMap((client) =>
    COLUMNS.map(asEvents)
      .filter((dialect) => dialect !== client.dialect)
      .map((dialect) => ({ ...client, dialect, of: client })),
  );
  return endings().flatMap((behaviour) => variants.map((client) => ({ client, behaviour, judge })));
}

// What a cell came to, in words that are the same for all clients.
function word({ said, error }) {
  if (!error) return said;
  const text = `${error.code} ${error.message}`;
  if (text.includes("upstream_truncated")) return TOLD_OF_BREAK;
  if (text.includes(OVERLOADED.message) || text.includes(OVERLOADED.code)) return TOLD_OF_ERROR;
  if (text.includes("ended before the answer did")) return UNFINISHED;
  if (/network error|request:fail|peer closed connection|ReadError/.test(text)) return CUT;
  return said;
}

function wanted({ client, behaviour }) {
  const exception = EXCEPTIONS[client.dialect]?.[behaviour.group];
  if (!exception) return ORDINARY[behaviour.group] ?? WHOLE;
  // EventSource takes an end without a word for a reason to ask again, which is of use only if there were ids.
  if (client.unfinished === "asks again")
    return DIALECTS[client.dialect].hasIds ? `${WHOLE}, 2 requests` : UNFINISHED;
  return client.unfinished ?? exception;
}

function judge(result) {
  const [is, should] = [word(result), wanted(result)];
  return is === should ? [] : [`it is "${is}" instead of "${should}"`];
}

const columnOf = ({ dialect }) => dialect.split(",")[0];

// One row per client: "✓" for all endings as they should be, with the letter of its exception.
export function rows(clients, results) {
  const shown = clients.filter(({ isDirect, isVariant }) => !isDirect && !isVariant);
  return shown.map((client) => [
    client.name,
    ...COLUMNS.map((column) => {
      const mine = results.filter(
        (result) =>
          (result.client.of ?? result.client) === client &&
          columnOf(result.client) === column &&
          ENDINGS.includes(result.behaviour.name),
      );
      if (!mine.length) return "–";
      if (mine.length !== ENDINGS.length) return "?";
      const isOrdinary = mine.every((result) => word(result) === (ORDINARY[result.behaviour.group] ?? WHOLE));
      return isOrdinary ? "✓" : `✓ ${EXCEPTIONS[mine[0].client.dialect]?.letter ?? "?"}`;
    }),
  ]);
}
