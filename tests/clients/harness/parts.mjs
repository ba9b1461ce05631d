// What all answers are made of.

// Whatever a careless client breaks: characters of 2, 3 and 4 bytes, an emoji of five code points, line separators
// that are no line ends here, quotes, escapes, something that looks like an event.
export const TEXT = [
  "你好，",
  "世界 👩‍👩‍👧‍👦! ",
  "\u2028 and \u2029 and \u0085 end no line. ",
  'naïve “quotes” and "quotes" ',
  "🏳️‍🌈🇨🇳 ",
  "a\\nb\n\ndata: [DONE]\n\n",
  "再见。",
];

// Broken answers break after this many pieces of the text.
export const BREAK = 3;
export const HEARD = TEXT.slice(0, BREAK).join("");

export const TOOL = { name: "get_weather", pieces: ['{"city":"北', '京","note":"\\"雨\\" ☔️', ' {} data: x\\u2028"}'] };

export const USAGE = [12, 34];

// The error that upstreams tell.
export const OVERLOADED = { message: "上游过载", type: "server_error", code: "overloaded" };

// One event as Server-Sent Events. Upstreams differ in their line ends and in the space after the colon.
export function sse({ event, data, retry, comment }, { eol = "\n", space = true, id }) {
  const fields = Object.entries({ id, event, retry, "": comment, data }).filter(([, value]) => value !== undefined);
  return fields.map(([name, value]) => `${name}:${space && name ? " " : ""}${value}${eol}`).join("") + eol;
}
