import { follow } from "./answer.js";

// Leave `key` out where the server asks for none. Call close() on what this returns to stop the upstream, too.
export function listen({ url, key, dialect, show, done, fail }) {
  const answer = follow(dialect, show);
  let isOver = false;
  const header = key ? { Authorization: `Bearer ${key}` } : {};
  const source = uni.connectEventSource({ url, header });

  function end(error) {
    isOver = true; // whatever is still on its way
    if (error) {
      source.close();
      fail(error);
    } else {
      setTimeout(() => source.close(), 2000); // who leaves before the stream ends is logged as gone
      done();
    }
  }

  source.onMessage(({ type, data }) => {
    if (isOver) return;
    try {
      answer.take({ name: type, data });
    } catch (error) {
      return end(error);
    }
    if (answer.isOver) end(); // nothing else tells the end
  });
  source.onError((error) => {
    if (!isOver) end(answer.isWhole ? undefined : error);
  });
  return source;
}
