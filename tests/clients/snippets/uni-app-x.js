import { follow } from "./answer.js";

export function listen({ url, key, dialect, show, done, fail }) {
  const answer = follow(dialect, show);
  const source = uni.connectEventSource({ url, header: { Authorization: `Bearer ${key}` } });
  source.onMessage(({ type, data }) => {
    try {
      answer.take({ name: type, data });
    } catch (error) {
      source.close();
      fail(error);
    }
    if (answer.isOver) done(); // nothing else tells the end
  });
  source.onError((error) => {
    if (!answer.isOver) fail(error);
  });
  return source;
}
