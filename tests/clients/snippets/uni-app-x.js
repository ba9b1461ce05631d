export function listen({ url, key, show, done, fail }) {
  const source = uni.connectEventSource({ url, header: { Authorization: `Bearer ${key}` } });
  source.onMessage((event) => {
    const data = JSON.parse(event.data);
    if (event.type == "error") {
      source.close();
      fail(data.error);
      return;
    }
    show(data);
    if (event.type == "done") {
      source.close(); // nothing else tells the end
      done();
    }
  });
  source.onError((error) => fail(error));
  return source;
}
