// What a chunk really is: which events end in it, where it cuts one, which characters it cuts. This is the page's
// judgement and knows the whole stream; the client does not.

class Anatomy {
  constructor(isLines) {
    this.isLines = isLines; // events are lines, not blocks
    this.inside = false; // an event has begun and not ended
    this.wasCut = false; // that event has been cut
    this.comment = false;
    this.lineLength = 0;
    this.missing = 0; // bytes that the last character still needs
    this.finished = false; // the answer has said that it is complete
    this.failed = false; // the answer has said that it failed
    this.tail = "";
    this.counts = { chunks: 0, events: 0, cutEvents: 0, cutCharacters: 0, heartbeats: 0 };
  }

  // Takes a chunk apart into segments: { kind, cutBefore, cutAfter, runs }.
  take(bytes) {
    this.counts.chunks += 1;
    const segments = [];
    const beginsInside = this.inside;
    let start = 0;
    for (let at = 0; at < bytes.length; at += 1) {
      const kind = this.step(bytes[at]);
      if (kind) {
        segments.push({ kind, bytes: bytes.subarray(start, at + 1) });
        start = at + 1;
      }
    }
    if (start < bytes.length) {
      segments.push({ kind: "event", bytes: bytes.subarray(start), cutAfter: this.inside });
    }
    if (this.inside && !this.wasCut) {
      this.wasCut = true;
      this.counts.cutEvents += 1;
    }
    if (beginsInside && segments.length > 0) segments[0].cutBefore = true;
    this.cutCharacters(bytes, segments);
    this.watch(bytes);
    return segments;
  }

  // One byte of the stream; the kind of what ends with it. Line ends are LF or CRLF.
  step(byte) {
    if (byte === CR) return null;
    if (byte !== LF) {
      if (this.lineLength === 0 && !this.inside && byte === COLON && !this.isLines) this.comment = true;
      else if (!this.comment) this.inside = true;
      this.lineLength += 1;
      return null;
    }
    const isBlank = this.lineLength === 0;
    this.lineLength = 0;
    if (this.comment) {
      this.comment = false;
      this.counts.heartbeats += 1;
      return "heartbeat";
    }
    if (!this.inside || !(isBlank || this.isLines)) return null;
    this.inside = false;
    this.wasCut = false;
    this.counts.events += 1;
    return "event";
  }

  // Marks the bytes of characters that are cut at either end of the chunk.
  cutCharacters(bytes, segments) {
    const before = Math.min(this.missing, bytes.length);
    this.missing -= before;
    let after = 0;
    if (this.missing === 0) {
      for (let back = 1; back <= Math.min(3, bytes.length - before); back += 1) {
        const byte = bytes[bytes.length - back];
        if ((byte & 0xc0) === 0x80) continue;
        const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
        if (length > back) {
          after = back;
          this.missing = length - back;
          this.counts.cutCharacters += 1;
        }
        break;
      }
    }
    segments.forEach((segment, index) => {
      const head = index === 0 ? before : 0;
      const tail = index === segments.length - 1 ? after : 0;
      segment.runs = runs(segment.bytes, head, tail);
    });
  }

  // The signs by which an answer says that it is complete, wherever they are cut.
  watch(bytes) {
    const text = this.tail + new TextDecoder("latin1").decode(bytes);
    this.finished ||= /data: ?\[DONE\]|"finish_reason":"|"done":true/.test(text);
    this.failed ||= /"error":/.test(text);
    this.tail = text.slice(-24);
  }
}

// The text of a segment in runs: bytes of cut characters apart, and what is the same in every event shortened.
function runs(bytes, head, tail) {
  const list = [];
  const hex = (part) => Array.from(part, (byte) => byte.toString(16).toUpperCase().padStart(2, "0")).join(" ");
  if (head > 0) list.push({ kind: "bytes", text: hex(bytes.subarray(0, head)) });
  const text = new TextDecoder().decode(bytes.subarray(head, bytes.length - tail));
  let before = "";
  for (const part of text.split(SPLIT)) {
    if (part === "") continue;
    if (ENVELOPE.test(part)) list.push({ kind: "envelope", text: "…", title: part });
    else if (/^[\r\n]+$/.test(part)) list.push({ kind: "end", text: part.replaceAll("\r", "\\r").replaceAll("\n", "\\n") });
    else list.push({ kind: before.endsWith('"content":"') ? "content" : "text", text: part });
    before = part;
  }
  if (tail > 0) list.push({ kind: "bytes", text: hex(bytes.subarray(bytes.length - tail)) });
  return list;
}

const LF = 10;
const CR = 13;
const COLON = 58;
const SPLIT = /("id":"[^"]*","object":"[^"]*","created":\d+,"model":"[^"]*",|"model":"[^"]*","created_at":"[^"]*",|(?<="content":")[^"]+|[\r\n]+)/;
const ENVELOPE = /^"(id|model)":.*,$/;
