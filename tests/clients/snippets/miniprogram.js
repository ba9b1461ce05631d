import { DIALECTS, follow } from "./answer.js";
import { eventOf } from "./sse.js";

// api is wx in WeChat mini-programs, uni in uni-app. Leave `key` out where the server asks for none. Call abort() on what
// this returns to stop the upstream, too.
export function chat({ api, url, key, request, dialect = DIALECTS["openai-chat"], show, done, fail }) {
  const answer = follow(dialect, show);
  let bytes = []; // since the last blank line
  let isChunked = false;
  let isOver = false;

  function end(error) {
    if (isOver) return;
    isOver = true;
    if (error) fail(error);
    else done();
  }

  function take(buffer) {
    for (const byte of new Uint8Array(buffer)) {
      bytes.push(byte);
      if (byte !== 10 || bytes[bytes.length - 2] !== 10) continue;
      const event = eventOf(utf8(bytes)); // a whole event, so all of its characters are whole
      bytes = [];
      if (isOver || !event) continue;
      try {
        answer.take(event);
      } catch (error) {
        end(error);
      }
    }
  }

  const header = { Accept: "text/event-stream, application/json" }; // a stream, or an error
  if (key) header.Authorization = `Bearer ${key}`;
  const task = api.request({
    url,
    method: "POST",
    header,
    data: { stream: true, ...request }, // first: in a long conversation it must be found soon
    enableChunked: true,
    responseType: "arraybuffer",
    timeout: 600000,
    success({ statusCode, data }) {
      if (!isChunked) take(data); // some hosts call nothing back before the end
      if (statusCode === 200) end(answer.missing());
      else end(Object.assign(new Error(utf8(bytes)), { status: statusCode }));
    },
    fail: ({ errMsg }) => end(new Error(errMsg)),
  });
  task.onChunkReceived(({ data }) => {
    isChunked = true;
    take(data);
  });
  return task;
}

// Devices have no TextDecoder, though the developer tools do.
function utf8(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length;) {
    const first = bytes[at++];
    const more = first < 0x80 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    let point = more ? first & (0x3f >> more) : first;
    for (let count = 0; count < more; count++) point = (point << 6) | (bytes[at++] & 0x3f);
    text += String.fromCodePoint(point);
  }
  return text;
}
