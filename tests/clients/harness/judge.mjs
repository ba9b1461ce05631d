// What a call came to, in one line, and whatever is wrong with it beside that.

import { isDeepStrictEqual } from "node:util";

// Bound on the time from a client that leaves to the upstream's closed socket; tidegate promises 100 ms, measured
// by tests/disconnect.rs. Here client, harness and browser share two cores.
const LEAVE_MS = 1000;

// "whole", "left", "CLASS STATUS CODE", or what is missing; with the number of requests if it was not one.
export function verdict({ seen, error, leftAt }, whole, requests) {
  const times = requests === 1 ? "" : `, ${requests} requests`;
  if (leftAt) return `left${times}`;
  if (error) return [error.kind, error.status, error.code].filter(Boolean).join(" ") + times;
  // Through JSON: what comes from another context has other prototypes.
  return (isDeepStrictEqual(JSON.parse(show(seen)), whole) ? "whole" : "SHORT without an error") + times;
}

export function problems({ seen, error, leftAt }, { client, behaviour, dialect, record, access, said }) {
  const found = [...record.problems];
  const outcome = dialect.outcomes?.[behaviour.name] ?? behaviour.outcome;
  // Some packages close their connection at the last event; the code of this project reads to the end, unless there was
  // an error. A resumed answer is another one.
  const mayLeave = behaviour.play && !(client.speaksAll && said.startsWith("whole"));
  const gone = mayLeave ? ["client:gone"] : [];
  const wanted = [outcome, ...gone, ...(said.startsWith("whole") ? ["done"] : [])];
  // A host that reports at the end reports nothing of what was cut.
  const heard = client.hearsAtEnd && /request:fail/.test(error?.message) ? "" : (behaviour.heard ?? dialect.whole.text);
  if (error && seen.text !== heard) found.push(`text before the error: ${show(seen.text)}`);
  if (error?.message?.includes("[object Object]")) found.push("its message says nothing: [object Object]");
  if (!access) found.push("no access line");
  else if (!wanted.includes(access.outcome)) found.push(`the outcome is ${access.outcome}, not ${wanted.join(" or ")}`);
  const version = client.version ?? "HTTP/1.1";
  if (access && access.version !== version) found.push(`it spoke ${access.version}, not ${version}`);
  if (behaviour.end === "never" && !leftAt) found.push("it did not leave");
  if (leftAt && record.closed === undefined) found.push("the upstream's socket is still open");
  if (leftAt && record.closed - leftAt > LEAVE_MS)
    found.push(`the upstream was left after ${record.closed - leftAt} ms`);
  return found;
}

const show = (value) => JSON.stringify(value);
