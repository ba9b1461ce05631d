import { follow } from "./answer.js";

// source: new EventSource(url), of the browser or of a package; it can only GET.
export function listen({ source, dialect, show, done, fail }) {
  const answer = follow(dialect, show);
  let hasIds = false;
  const close = (settle, value) => {
    source.close();
    settle(value);
  };
  const hear = ({ type, data, lastEventId }) => {
    hasIds ||= Boolean(lastEventId);
    try {
      answer.take({ name: type, data });
    } catch (error) {
      close(fail, error);
    }
  };
  for (const name of ["message", ...(dialect.names ?? [])]) source.addEventListener(name, hear);
  source.addEventListener("error", (event) => {
    if (event.data) {
      hear(event); // an event named "error", from the upstream or from tidegate
    } else if (answer.isWhole) {
      close(done); // the end of the stream; it would ask again
    } else if (source.readyState === source.CLOSED) {
      fail(new Error("refused: not 200, or not an event stream")); // and it will not ask again
    } else if (!hasIds) {
      close(fail, answer.missing()); // asking again would begin the answer anew
    } // else it asks again with Last-Event-ID
  });
}
