"""MCP over Streamable HTTP: the official Python SDK on both sides."""

import json

import check
import wire
from process import PLACE, Server, Tidegate, free_port, output

TITLE = "MCP Streamable HTTP"
ABOUT = """`tests/servers/mcp/server.py` and `client.py` are the official Python SDK on both sides, the client through tidegate. First
with a session (`initialize`, the stream for server-initiated notifications, DELETE), then with the version of the
protocol that has none."""
PACKAGES = ["mcp", "httpx2", "sse-starlette", "uvicorn"]
PROGRESS = [[step, 5, f"step {step}"] for step in range(1, 6)]

CONFIG = """\
[[listener]]
address = "127.0.0.1:0"

[upstream.mcp]
url = "http://127.0.0.1:{port}"

[[route]]
path = "/mcp"
upstream = "mcp"
"""


def run(binary):
    section = check.Section(TITLE, ABOUT)
    port, here = free_port(), __file__.rsplit("/", 1)[0]
    python = PLACE / "mcp/bin/python"
    with Server(python, "server.py", str(port), port=port, name="MCP server", cwd=here) as server, Tidegate(
        binary, CONFIG.format(port=port)
    ) as tidegate:
        section.show("The configuration", CONFIG.format(port=8904), "toml")
        traces(section, server, tidegate)
        before = len(wire.get_json(server.port, "/requests"))
        urls = [f"http://127.0.0.1:{tidegate.port}/mcp", f"http://127.0.0.1:{server.port}/step"]
        seen = json.loads(output(python, f"{here}/client.py", *urls, timeout=60).splitlines()[-1])
        requests = wire.get_json(server.port, "/requests")[before:]
        with_session(section, seen, requests)
        without_session(section, server, seen)
        breaking(section, server, tidegate)
    return section


def breaking(section, server, tidegate):
    """The server dies in the middle of a call. To MCP there is no error event, so nothing may look like an end."""
    stream = wire.post(tidegate.port, "/mcp", *session_call(tidegate.port, "forever"))
    while b"begun" not in stream.chunk():
        pass
    server.process.kill()
    rest = b"".join(data for _, _, data in stream.rest())
    section.saw(
        not stream.is_complete and b"error" not in rest,
        "the server dies in the middle of a call: the connection to the client is cut, with nothing of tidegate in the stream",
    )
    tidegate.find(lambda line: "outcome=upstream:truncated" in line, "outcome of the broken call")
    section.saw(True, "the access line says outcome=upstream:truncated")


def with_session(section, seen, requests):
    section.saw(seen["tools"] == ["announce", "count", "forever", "resume"], f"`initialize` ({seen['version']}) and `tools/list` work")
    section.saw(
        seen["count"] == {"progress": PROGRESS, "result": "counted to 5"},
        "a tool call: 5 progress notifications, each sent after the client had read the one before it, then the result",
    )
    section.saw("notifications/tools/list_changed" in seen["notices"], "a notification on the GET stream, which belongs to no request")
    resumed = [request for request in requests if request["method"] == "GET" and request["last-event-id"]]
    section.saw(
        seen["resume"] == "answered after the break" and resumed,
        "the server ends the stream of a call before its answer; the client comes back with `last-event-id` and gets it",
    )
    section.saw(seen["error"], "an error of a tool is an error at the client")
    sessions = {request["mcp-session-id"] for request in requests if request["method"] in ("GET", "DELETE")}
    deleted = [request for request in requests if request["method"] == "DELETE"]
    section.saw(
        len(deleted) == 1 and len(sessions) == 1 and None not in sessions,
        "DELETE ends the session; every GET and the DELETE carry its `mcp-session-id`",
    )


def without_session(section, server, seen):
    modern = seen["modern"]
    section.saw(
        modern["count"] == {"progress": PROGRESS, "result": "counted to 5"},
        f"the same tool call without a session ({modern['version']})",
    )
    ending = check.until("the cancelled tool", lambda: wire.get_json(server.port, "/ending?path=forever"))
    took = ending["at"] - seen["left"]
    section.saw(took < 1, "without a session, a client that drops a call cancels the tool within 1 s")
    print(f"        after {took * 1000:.0f} ms")


def traces(section, server, tidegate):
    """One tool call, raw, directly and through tidegate."""
    shown = []
    for port in (server.port, tidegate.port):
        stream = wire.post(port, "/mcp", *session_call(port, "count", to=2))
        while b"step 1" not in stream.chunk():
            pass
        wire.post(server.port, "/step", {}).text()
        stream.rest()
        shown.append(stream)
    direct, through = shown
    section.sends = check.describe(direct)
    section.show("What the server sends to a tool call", wire.trace(direct))
    section.show("What came out through tidegate", wire.trace(through))
    check.canonical(section, "/mcp", through)
    events = [b"".join(data for _, _, data in stream.chunks).replace(b"\r\n", b"\n") for stream in shown]
    ids = [event.count(b"id: ") for event in events]
    section.saw(ids[0] == ids[1] > 0, "every `id:` of the server passes, that of its empty first event too")
    for _ in range(3):
        access = tidegate.access("/mcp")
    section.show("What the log says", access)


def session_call(port, tool, **arguments):
    """Opens a session; the body and the headers of a call in it."""
    headers = [("Accept", "application/json, text/event-stream"), ("MCP-Protocol-Version", "2025-11-25")]
    client = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "raw", "version": "1"}}
    begin = wire.post(port, "/mcp", message("initialize", client, id=1), headers)
    begin.rest()
    headers.append(("Mcp-Session-Id", begin.fields["mcp-session-id"]))
    wire.post(port, "/mcp", message("notifications/initialized"), headers).rest()
    params = {"name": tool, "arguments": arguments, "_meta": {"progressToken": 7}}
    return message("tools/call", params, id=2), headers


def message(method, params=None, **more):
    return {"jsonrpc": "2.0", "method": method, **({"params": params} if params else {}), **more}
