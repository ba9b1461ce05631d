export function listen({ url, show, done, fail }) {
  const source = new EventSource(url); // GET without headers of your own: the key goes into ?key=
  source.onmessage = (event) => show(JSON.parse(event.data));
  source.addEventListener("tool", (event) => show(JSON.parse(event.data)));
  source.addEventListener("done", (event) => {
    source.close(); // a plain end of the stream makes it ask again
    show(JSON.parse(event.data));
    done();
  });
  source.addEventListener("error", (event) => {
    if (event.data) {
      source.close(); // an event named "error", from the upstream or from tidegate
      fail(JSON.parse(event.data).error);
    } else if (source.readyState === EventSource.CLOSED) {
      fail(new Error("refused: not 200, or not an event stream")); // and it will not ask again
    } // else the connection is gone, and it asks again with Last-Event-ID
  });
  return source;
}
