// A random answer in openai-chat: what it says, and how its upstream writes it.

import { sse } from "./parts.mjs";
import { pieces, random } from "./random.mjs";

// Whatever breaks careless code: 1 to 4 bytes, joined and combining characters, line ends that are none, a BOM,
// escapes, control characters, what looks like events.
const ATOMS = [
  ...["你", "好", "世", "界", "，", "。", "龘", "é", "ß", "😀", "𠮷", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇨🇳", "e\u0301"],
  ...["\u2028", "\u0085", "\ufeff", "\u0000", "\u001f", "\t", "\r", "\n", "\n\n", "\\", '"', "\\u4f60"],
  ...["data: ", "data: [DONE]\n\n", "the ", "a", "7", " ", "</p>"],
];

const LONGEST_PIECE = 12;
// One piece in so many is longer than an event may be on a route for mini-programs.
const LONG_ONE_IN = 60;

const escaped = (text) =>
  text.replace(/[\u0080-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);

function randomTexts(next, count) {
  const piece = () => {
    const atoms = next(LONG_ONE_IN) ? 1 + next(LONGEST_PIECE) : 300 + next(700);
    return Array.from({ length: atoms }, () => ATOMS[next(ATOMS.length)]).join("");
  };
  const texts = Array.from({ length: count }, piece);
  // Some tokenizers cut between the halves of a character, which JSON can say.
  return next(20) ? texts : texts.flatMap((text) => [text.slice(0, text.length / 2), text.slice(text.length / 2)]);
}

function* steps(bytes, events, next) {
  const style = next(4);
  const parts = [events, pieces(bytes, next, 300), pieces(bytes, next, 3000), [bytes]][style];
  for (const part of parts) {
    yield part;
    // Mostly the next follows at once, now and then after a silence, longer than texts are joined or not.
    if (next(style ? 60 : 8) === 0) yield 10 + next(120);
    else if (next(4) === 0) yield 0;
  }
}

export function randomStream(seed) {
  const next = random(seed * 7919 + 1);
  // Small seeds begin alike.
  for (let turn = 0; turn < 8; turn++) next(2);
  const isEscaped = next(3) === 0;
  const style = { eol: next(3) ? "\n" : "\r\n", space: next(4) > 0 };
  const hasIds = next(4) === 0;
  const usage = { prompt_tokens: 1 + next(999), completion_tokens: next(999) };
  const said = { reasoning: randomTexts(next, next(6)), text: randomTexts(next, 1 + next(30)), args: [] };
  if (next(3) === 0) said.args = randomTexts(next, 1 + next(6));

  const chunk = (delta, finish_reason = null) => ({ choices: [{ index: 0, delta, finish_reason }] });
  const data = [
    chunk({ role: "assistant", content: "" }),
    ...said.reasoning.map((reasoning_content) => chunk({ reasoning_content })),
    ...said.text.map((content) => chunk({ content })),
    ...said.args.map((args) => chunk({ tool_calls: [{ index: 0, function: { arguments: args } }] })),
    chunk({}, "stop"),
    { choices: [], usage },
  ].map((more) => {
    const text = JSON.stringify({ id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: "m", ...more });
    return isEscaped ? escaped(text) : text;
  });
  if (next(4)) data.push("[DONE]");
  const events = data.map((data, index) => {
    const ping = next(12) ? "" : `: ping${style.eol}${style.eol}`;
    return Buffer.from(ping + sse({ data }, { ...style, id: hasIds ? index + 1 : undefined }));
  });
  return {
    said: {
      text: said.text.join(""),
      reasoning: said.reasoning.join(""),
      args: said.args.join(""),
      finish: "stop",
      usage,
    },
    behaviour: { name: "random", end: "clean", play: () => steps(Buffer.concat(events), events, next) },
  };
}
