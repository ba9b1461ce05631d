"""A raw HTTP/1.1 client: what arrives, when, and how it was cut into chunks."""

import json
import socket
import time

DEADLINE = 30


def post(port, path, body, headers=()):
    """A stream of the answer to a JSON request."""
    return Stream(port, "POST", path, json.dumps(body).encode(), [("Content-Type", "application/json"), *headers])


def get_json(port, path):
    return json.loads(Stream(port, "GET", path).text())


class Stream:
    """A response that is read chunk by chunk."""

    def __init__(self, port, method, path, body=b"", headers=()):
        self.socket = socket.create_connection(("127.0.0.1", port), DEADLINE)
        fields = [("Host", f"127.0.0.1:{port}"), ("Connection", "close"), *headers]
        if body:
            fields.append(("Content-Length", str(len(body))))
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "", ""]
        self.socket.sendall("\r\n".join(lines).encode() + body)
        self.buffer = b""
        self.reads = 0
        head = self._until(b"\r\n\r\n").decode()
        self.begin = time.monotonic()
        self.head = head.split("\r\n")
        self.status = int(self.head[0].split(" ")[1])
        self.fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in self.head[1:])}
        # (seconds since the head, number of the read that brought its end, bytes)
        self.chunks = []
        self.is_complete = False

    def _fill(self):
        more = self.socket.recv(65536)
        self.reads += 1
        self.buffer += more
        return bool(more)

    def _until(self, end):
        while end not in self.buffer:
            if not self._fill():
                raise ConnectionError(f"closed before {end!r}, after {self.buffer!r}")
        found, _, self.buffer = self.buffer.partition(end)
        return found

    def _take(self, length):
        while len(self.buffer) < length:
            if not self._fill():
                raise ConnectionError("closed inside a chunk")
        taken, self.buffer = self.buffer[:length], self.buffer[length:]
        return taken

    def chunk(self):
        """The next chunk; None after the last. ConnectionError if the body breaks off."""
        if "content-length" in self.fields:
            data = self._take(int(self.fields["content-length"])) if not self.is_complete else b""
        elif "transfer-encoding" in self.fields:
            data = self._take(int(self._until(b"\r\n").split(b";")[0], 16))
            self._until(b"\r\n") if data else self._take(2)
        else:
            raise AssertionError(f"no framing: {self.head}")
        if not data or self.is_complete:
            self.is_complete = True
            return None
        self.is_complete = "content-length" in self.fields
        self.chunks.append((time.monotonic() - self.begin, self.reads, data))
        return data

    def rest(self):
        """Reads to the end; the chunks so far. Whether it is a clean end is in `is_complete`."""
        try:
            while self.chunk() is not None:
                pass
        except ConnectionError:
            pass
        self.close()
        return self.chunks

    def text(self):
        return b"".join(data for _, _, data in self.rest()).decode()

    def close(self):
        """Leaves; the time of it, on the clock that all processes of the machine share."""
        self.socket.close()
        return time.monotonic()


def datas(text):
    """The data of each event, as the HTML standard reads a stream; comments and other fields are not for here."""
    found, lines = [], []
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        if line == "":
            if lines:
                found.append("\n".join(lines))
            lines = []
        elif line.startswith("data:"):
            lines.append(line[5:].removeprefix(" "))
    return found


def content(datas):
    """The text of an OpenAI-compatible answer."""
    deltas = [choice["delta"] for data in datas if data != "[DONE]" for choice in json.loads(data).get("choices", [])]
    return "".join(delta.get("content") or "" for delta in deltas)


def trace(stream):
    """A page's view of a stream: time, size, bytes; chunks of one read stand together."""
    shown, last_read = ["        " + line for line in stream.head], None
    for seconds, read, data in stream.chunks:
        time_of_read = f"{seconds:5.2f} s" if read != last_read else " " * 7
        last_read = read
        text = data.decode(errors="replace").replace("\r", "␍").replace("\n", "⏎")
        shown.append(f"{time_of_read} {len(data):>4} B  {text}")
    shown.append("         end" if stream.is_complete else "         the connection is cut")
    return "\n".join(shown)
