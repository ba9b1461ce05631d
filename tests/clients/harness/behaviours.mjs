// What upstreams do: one entry per behaviour. `play` yields the steps of a streamed answer: bytes to write as one
// chunk, or milliseconds to wait; a status instead of `play` is an answer that is no stream.
//
// group    the column of the documentation that it belongs to
// heard    how much of the text a client must have seen when its error comes; the whole answer without it
// outcome  what tidegate's access line must say
// isTimed  it is run while nothing else runs
// end      how the body ends: "clean", or without the last chunk by "fin" or "rst", or "never"

import { BREAK, HEARD } from "./parts.mjs";
import { pieces, random } from "./random.mjs";

const GAP_MS = 2;
// Three heartbeats of a second fit in.
export const SILENCE_MS = 3500;

const wires = ({ dialect, style, from }) =>
  dialect.events
    .map((event, index) => dialect.wire(event, { ...style, id: style.ids ? index + 1 : undefined }))
    .slice(from)
    .map((wire) => Buffer.from(wire));

// The events before the break, and the one that it hits.
function broken(answer) {
  const all = wires(answer);
  const texts = answer.dialect.events.flatMap((event, index) => (event.text === undefined ? [] : [index]));
  const at = texts[BREAK];
  return { before: all.slice(0, at), hit: all[at] };
}

function* spaced(buffers, gap = GAP_MS) {
  for (const buffer of buffers) {
    yield buffer;
    yield gap;
  }
}

function* cutAt(bytes, isCut) {
  let from = 0;
  for (let at = 1; at <= bytes.length; at++) {
    if (at === bytes.length || isCut(bytes, at)) {
      yield bytes.subarray(from, at);
      yield GAP_MS;
      from = at;
    }
  }
}

const isContinuation = (bytes, at) => (bytes[at] & 0xc0) === 0x80;
const isLfOfCrlf = (bytes, at) => bytes[at] === 10 && bytes[at - 1] === 13;

function* brokenOff(answer) {
  const { before, hit } = broken(answer);
  yield* spaced(before);
  yield hit.subarray(0, hit.length / 2);
  yield 50;
}

const json = (status, error) => ({
  status,
  mediaType: "application/json",
  body: ({ refusal }) => JSON.stringify(refusal(error)),
});

const STREAMS = [
  { name: "clean", play: (answer) => spaced(wires(answer)) },
  {
    name: "cut in events",
    style: { space: false },
    play: (answer) => spaced(pieces(Buffer.concat(wires(answer)), random(answer.seed), 60)),
  },
  { name: "cut in characters", play: (answer) => cutAt(Buffer.concat(wires(answer)), isContinuation) },
  {
    name: "cut in CRLF",
    style: { eol: "\r\n" },
    play: (answer) => cutAt(Buffer.concat(wires(answer)), isLfOfCrlf),
  },
  {
    name: "byte by byte",
    play: (answer) =>
      spaced(
        pieces(Buffer.concat(wires(answer)), () => 0, 1),
        0,
      ),
  },
  {
    name: "glued by three",
    *play(answer) {
      const all = wires(answer);
      for (let from = 0; from < all.length; from += 3) {
        yield Buffer.concat(all.slice(from, from + 3));
        yield GAP_MS;
      }
    },
  },
  { name: "glued into one", play: (answer) => [Buffer.concat(wires(answer))] },
  {
    name: "slow",
    *play(answer) {
      yield 1500;
      yield* spaced(wires(answer), 100);
    },
  },
  {
    name: "silent",
    style: { ids: true },
    *play(answer) {
      const { before } = broken(answer);
      yield* spaced(before);
      yield SILENCE_MS;
      yield* spaced(wires(answer).slice(before.length));
    },
  },
  { name: "no last chunk", end: "fin", play: (answer) => spaced(wires(answer)) },
  {
    name: "ends short",
    group: "ends short",
    heard: HEARD,
    outcome: "upstream:truncated",
    play: (answer) => spaced(broken(answer).before),
  },
  { name: "breaks, FIN", group: "breaks", heard: HEARD, outcome: "upstream:truncated", end: "fin", play: brokenOff },
  { name: "breaks, RST", group: "breaks", heard: HEARD, outcome: "upstream:truncated", end: "rst", play: brokenOff },
  {
    name: "error event",
    group: "error event",
    heard: HEARD,
    outcome: "upstream:error",
    *play(answer) {
      yield* spaced(broken(answer).before);
      yield Buffer.from(answer.dialect.wire(answer.dialect.error, answer.style));
    },
  },
];

const STATUSES = [
  { name: "429", answer: json(429, { message: "too fast", type: "rate_limit_error", code: "rate_limited" }) },
  { name: "500", answer: json(500, { message: "broken", type: "server_error", code: "internal" }) },
  {
    name: "HTML page",
    outcome: "upstream:html",
    answer: { status: 200, mediaType: "text/html", body: () => "<!DOCTYPE html><html><body>Log in</body></html>" },
  },
].map((behaviour) => ({ outcome: "upstream:status", ...behaviour, group: behaviour.name, heard: "" }));

// What a client does, rather than its upstream.
const SCENES = [
  {
    name: "leaves",
    isTimed: true,
    group: "leaves",
    heard: "",
    outcome: "client:gone",
    end: "never",
    play: (answer) => spaced(broken(answer).before),
  },
  {
    name: "asks again",
    group: "asks again",
    first: { ...STATUSES[0].answer, headers: { "retry-after-ms": "20" } },
    play: (answer) => spaced(wires(answer)),
  },
];

export const BEHAVIOURS = [...STREAMS, ...STATUSES, ...SCENES].map((behaviour) => ({
  group: "whole",
  outcome: "done",
  end: "clean",
  ...behaviour,
}));

// An answer that goes on behind the event that a client names in Last-Event-ID.
export const RESUMED = { play: (answer) => spaced(wires(answer)), end: "clean" };
