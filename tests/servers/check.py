"""What every server that streams chat completions is asked, and what a page says about it."""

import json
import time

import wire

PATH = "/v1/chat/completions"
# What fastapi/app.py and express/app.js answer.
TOKENS = ["你好", "，", "world", "\n", "🌍"]


class Section:
    """One server: what was seen, and how it looked."""

    def __init__(self, title, about):
        self.title = title
        self.about = about
        # What the server sends, in a few words.
        self.sends = ""
        # Each sentence, and the paths that it was seen on.
        self.facts = {}
        self.blocks = []

    def saw(self, truth, sentence, path=None):
        """Something that must be so; it becomes a line of the page."""
        if not truth:
            raise AssertionError(f"{self.title}: {path or ''}: not so: {sentence}")
        print("   ok ", *([f"{path}:"] if path else []), sentence, flush=True)
        self.facts.setdefault(sentence, []).append(path)

    def show(self, caption, text, language="console"):
        self.blocks.append((caption, text, language))


def until(what, look, seconds=10):
    """Looks again and again until there is something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.01)
    return found


def describe(stream):
    """The form of what a server sends: line ends, and how events and chunks go together."""
    body = b"".join(data for _, _, data in stream.chunks)
    blank = b"\r\n\r\n" if b"\r\n\r\n" in body else b"\n\n"
    whole = all(data.endswith(blank) and data.count(blank) == 1 for _, _, data in stream.chunks)
    spaces = "`data: `" if b"data: " in body else "`data:`"
    ends = "CRLF" if blank == b"\r\n\r\n" else "LF"
    framing = "one event per chunk" if whole else f"{body.count(blank)} events in {len(stream.chunks)} chunks"
    return f"{spaces}, {ends}, {framing}"


def compare(section, server, tidegate, path, body, text, headers=()):
    """The same request without and with tidegate: the same text, in canonical form."""
    streams = []
    for port in (server.port, tidegate.port):
        # One after the other: each is read as it comes, and its times are true.
        stream = wire.post(port, path, body, headers)
        if wire.content(wire.datas(stream.text())) != text:
            raise AssertionError(f"{section.title}: {path}: not {text!r}: {stream.chunks}")
        streams.append(stream)
    direct, through = streams
    section.saw(True, f"the text is `{json.dumps(text, ensure_ascii=False)}`, directly and through tidegate", path)
    section.sends = section.sends or describe(direct)
    access = tidegate.access(path)
    canonical(section, path, through)
    section.saw(" outcome=done " in access, "the access line says outcome=done", path)
    return direct, through, access


def canonical(section, path, stream):
    chunks = [data for _, _, data in stream.chunks]
    section.saw(b"\r" not in b"".join(chunks), "through tidegate every line ends with LF alone", path)
    whole = all(data.endswith(b"\n\n") and data.count(b"\n\n") == 1 or data == b":\n" for data in chunks)
    section.saw(whole, "through tidegate every chunk is one whole event or one heartbeat", path)


def step_by_step(section, server, tidegate, path, tokens, headers=()):
    """Each token is sent only after the one before it was read, so whoever holds one back stops everything."""
    stream = wire.post(tidegate.port, path, {"stream": True, "pace": "step"}, headers)
    for number, token in enumerate(tokens):
        if number > 0:
            wire.post(server.port, "/step", {}).text()
        data = wire.datas(stream.chunk().decode())
        if wire.content(data) != token:
            raise AssertionError(f"{path}: expected {token!r}, got {data}")
    stream.rest()
    tidegate.access(path)
    sentence = f"{len(tokens)} tokens, each sent after the one before it was read, arrive one by one"
    section.saw(stream.is_complete, sentence, path)


def leaving(section, server, tidegate, path, bound=1.0):
    """A client that leaves in the middle is noticed by the server."""
    stream = wire.post(tidegate.port, path, {"stream": True, "pace": 0.05, "endless": True})
    for _ in range(3):
        stream.chunk()
    left = stream.close()
    ending = until("the server's word on the ending", lambda: wire.get_json(server.port, f"/ending?path={path}"))
    took = ending["at"] - left
    section.saw(
        ending["how"] in ("cancelled", "closed") and took < bound,
        f"the client leaves, and within {bound:g} s the server stops (`{ending['how']}`)",
        path,
    )
    print(f"        after {took * 1000:.0f} ms")
    access = tidegate.access(path)
    section.saw(" outcome=client:gone " in access, "the access line says outcome=client:gone", path)


def breaking(section, server, tidegate, path):
    """A server that dies in the middle: the client is told, and is not given a [DONE]."""
    body = {"stream": True, "pace": 0.05, "break_after": 2}
    direct, through = (wire.post(port, path, body) for port in (server.port, tidegate.port))
    tokens = wire.datas(direct.text())
    *chunks, error = [data.decode() for _, _, data in through.rest()]
    access = tidegate.access(path)
    same = tokens and wire.datas("".join(chunks)) == tokens and not direct.is_complete
    section.saw(
        same and error.startswith("event: error\ndata: {") and through.is_complete,
        "the server crashes in the middle and the connection breaks: through tidegate the same tokens, then "
        "`event: error`, and no `[DONE]`",
        path,
    )
    section.saw(" outcome=upstream:truncated " in access, "the access line says outcome=upstream:truncated", path)


def no_stream(section, server, tidegate, path, body):
    direct, through = (wire.post(port, path, body) for port in (server.port, tidegate.port))
    same = direct.text() == through.text() and direct.fields["content-type"] == through.fields["content-type"]
    section.saw(same and " outcome=done " in tidegate.access(path), "without a stream the same bytes as directly", path)
