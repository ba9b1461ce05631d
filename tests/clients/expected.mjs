// What each client must come to, by the behaviour of its upstream: "whole" is the whole answer exactly (text, tool
// call, usage, finish) from one request; "left" is that its upstream's socket closed at once; anything else is the
// error that the program gets: its class or form, its status, its code. Keys are groups, or single behaviours; one that
// is missing is not run.
//
// No client may take a broken answer for a whole one. Those that cannot see errors by themselves:
//   curl                                prints the error event like any other and ends with 0
//   EventSource where "ends short"      a clean end without a finish is its sign to ask again: it does, with
//                                       Last-Event-ID, and so gets the whole
//   uni.connectEventSource, Android     tells no end: the program needs a timer of its own

const TRUNCATED = "upstream_truncated";
const SILENT = "SHORT without an error";

// Code that parses for itself, with `Error` as its class.
const PARSER = {
  whole: "whole",
  "ends short": `Error ${TRUNCATED}`,
  breaks: `Error ${TRUNCATED}`,
  "error event": "Error overloaded",
  429: "Error 429",
  500: "Error 500",
  "HTML page": "Error 502",
  leaves: "left",
};

// Who can read no status is told in the stream.
const TOLD_IN_STREAM = {
  429: "Error 429 upstream_status",
  500: "Error 500 upstream_status",
  "HTML page": "Error 502 upstream_html",
};

const EVENT_SOURCE = {
  whole: "whole",
  "ends short": "whole, 2 requests",
  breaks: `Error ${TRUNCATED}`,
  "error event": "Error overloaded",
  ...TOLD_IN_STREAM,
  leaves: "left",
};

const MINI_PROGRAM = { ...PARSER, ...TOLD_IN_STREAM };

const STATUS_CLASSES = {
  429: "RateLimitError 429 rate_limited",
  500: "InternalServerError 500 internal",
  "HTML page": "InternalServerError 502 upstream_html",
};

const SDK = {
  whole: "whole",
  "ends short": `APIError ${TRUNCATED}`,
  breaks: `APIError ${TRUNCATED}`,
  "error event": "APIError overloaded",
  ...STATUS_CLASSES,
  leaves: "left",
  "asks again": "whole, 2 requests",
};

const CURL = {
  whole: "whole",
  "ends short": `exit 0 ${TRUNCATED}`,
  breaks: `exit 0 ${TRUNCATED}`,
  "error event": "exit 0 overloaded",
  429: "exit 22 rate_limited",
  500: "exit 22 internal",
  "HTML page": "exit 22 upstream_html",
  leaves: "left",
};

export const EXPECTED = {
  "openai, Node": SDK,
  "openai, Python": SDK,
  "openai, Python, TLS": SDK,
  "openai, Node, Responses": { ...SDK, "error event": "object overloaded" },
  "openai, Python, Responses": { ...SDK, "error event": "RuntimeError overloaded" },
  "@anthropic-ai/sdk, Node": { ...SDK, "error event": "APIError overloaded_error" },
  "anthropic, Python": {
    ...SDK,
    "ends short": `APIStatusError 200 ${TRUNCATED}`,
    breaks: `APIStatusError 200 ${TRUNCATED}`,
    "error event": "APIStatusError 200 overloaded_error",
  },
  "Vercel ai": {
    whole: "whole",
    "ends short": `object ${TRUNCATED}`,
    breaks: `object ${TRUNCATED}`,
    "error event": "object overloaded",
    429: "AI_APICallError 429 rate_limited",
    500: "AI_APICallError 500 internal",
    "HTML page": "AI_APICallError 502 upstream_html",
    leaves: "left",
    "asks again": "whole, 2 requests",
  },
  "Vercel ai, UI messages": {
    whole: "whole",
    "ends short": "Error",
    breaks: "Error",
    "error event": "Error",
    429: "Error",
    500: "Error",
    "HTML page": "Error",
    leaves: "left",
  },
  "ollama, Node": {
    whole: "whole",
    // A last line with the error, which the package throws.
    "ends short": "Error",
    breaks: "Error",
    "error event": "Error",
    429: "ResponseError 429",
    500: "ResponseError 500",
    "HTML page": "ResponseError 502",
    leaves: "left",
  },
  "ollama, Python": {
    whole: "whole",
    "ends short": "ResponseError -1",
    breaks: "ResponseError -1",
    "error event": "ResponseError -1",
    429: "ResponseError 429",
    500: "ResponseError 500",
    "HTML page": "ResponseError 502",
    leaves: "left",
  },
  "httpx-sse, Python": {
    whole: "whole",
    "ends short": `RuntimeError ${TRUNCATED}`,
    breaks: `RuntimeError ${TRUNCATED}`,
    "error event": "RuntimeError overloaded",
    429: "HTTPStatusError 429",
    500: "HTTPStatusError 500",
    "HTML page": "HTTPStatusError 502",
    leaves: "left",
  },
  curl: CURL,
  "curl, TLS": CURL,
  "EventSource, Chromium": EVENT_SOURCE,
  "EventSource, Chromium, HTTP/2": EVENT_SOURCE,
  "EventSource, Chromium, unknown stream": {
    // No error event where tidegate does not know that this is an AI stream: a cut connection, and so a new request.
    "ends short": "whole, 2 requests",
    breaks: "whole, 2 requests",
  },
  "EventSourcePolyfill, Chromium": EVENT_SOURCE,
  // Closed for good by any status but 200. It calls itself Node, and so nobody takes it for a browser's.
  "eventsource, Node": { ...EVENT_SOURCE, 429: "closed", 500: "closed", "HTML page": "closed" },
  "fetch reader, Chromium": PARSER,
  "fetch reader, Chromium, HTTP/2": PARSER,
  // tidegate's own answers have no CORS headers, so the page learns only that there was an error.
  "fetch reader, Chromium, other origin": { ...PARSER, "HTML page": "TypeError" },
  "fetchEventSource, Chromium": PARSER,
  "wx.request, uni.request (emulated)": MINI_PROGRAM,
  // It sees nothing before the end, so there is nothing that could make it leave.
  "wx.request that reports at the end (emulated)": { ...MINI_PROGRAM, leaves: undefined },
  "wx.request, new decoder per read (emulated)": MINI_PROGRAM,
  "uni.connectEventSource, Android (emulated)": { ...EVENT_SOURCE, "ends short": "no callback" },
  "uni.connectEventSource, iOS (emulated)": { ...EVENT_SOURCE, "ends short": "onError" },
};

// The same packages in front of the upstream itself: here a broken answer may look whole.
export const DIRECT = ", without tidegate";

Object.assign(EXPECTED, {
  [`openai, Node${DIRECT}`]: { "ends short": SILENT, breaks: "TypeError", "HTML page": SILENT },
  [`openai, Python${DIRECT}`]: { "ends short": SILENT, breaks: "APIConnectionError", "HTML page": SILENT },
  [`@anthropic-ai/sdk, Node${DIRECT}`]: { "ends short": SILENT, breaks: "TypeError", "HTML page": SILENT },
  [`anthropic, Python${DIRECT}`]: {
    "ends short": SILENT,
    "breaks, FIN": "RemoteProtocolError",
    "breaks, RST": "ReadError",
    "HTML page": SILENT,
  },
  [`Vercel ai${DIRECT}`]: {
    "ends short": "AI_InvalidResponseDataError",
    breaks: "AI_APICallError 200",
    "HTML page": "AI_InvalidResponseDataError",
  },
  [`ollama, Node${DIRECT}`]: { "ends short": "Error", breaks: "TypeError", "HTML page": "Error" },
});

export function expected({ name }, behaviour) {
  return EXPECTED[name][behaviour.name] ?? EXPECTED[name][behaviour.group];
}
