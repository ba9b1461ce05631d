"""An MCP server over Streamable HTTP (official Python SDK): progress, notifications, resumption, and what it was asked."""

import sys
import time

import anyio
import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.streamable_http import EventMessage, EventStore
from starlette.responses import JSONResponse

server = MCPServer("steps")
# A step after the first is taken when somebody asks for it: whoever holds up a notification is noticed.
steps = anyio.Semaphore(0)
requests = []
endings = {}


class Events(EventStore):
    """Keeps every event in memory, so that a client can go on after a broken connection."""

    def __init__(self):
        self.events = []

    async def store_event(self, stream_id, message):
        self.events.append((stream_id, message))
        return str(len(self.events))

    async def replay_events_after(self, last_event_id, send_callback):
        begin = int(last_event_id)
        stream = self.events[begin - 1][0]
        for number, (stream_id, message) in enumerate(self.events[begin:], begin + 1):
            if stream_id == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


@server.tool()
async def count(to: int, context: Context) -> str:
    """Counts, and tells its progress at each step."""
    for step in range(1, to + 1):
        if step > 1:
            await steps.acquire()
        await context.report_progress(step, to, f"step {step}")
    return f"counted to {to}"


@server.tool()
async def announce(context: Context) -> str:
    """Tells the client, on the stream that belongs to no request, that the list of tools has changed."""
    await context.session.send_tool_list_changed()
    return "announced"


@server.tool()
async def resume(context: Context) -> str:
    """Closes its stream before it answers; the client has to come back for the answer."""
    await context.close_sse_stream()
    return "answered after the break"


@server.tool()
async def forever(context: Context) -> str:
    """Never answers; remembers when it was cancelled."""
    await context.report_progress(1, None, "begun")
    try:
        await anyio.sleep_forever()
    finally:
        endings["forever"] = {"how": "cancelled", "at": time.monotonic()}


@server.custom_route("/step", ["POST"])
async def step(_request):
    steps.release()
    return JSONResponse(None)


@server.custom_route("/requests", ["GET"])
async def seen(_request):
    return JSONResponse(requests)


@server.custom_route("/ending", ["GET"])
async def ending(request):
    return JSONResponse(endings.get(request.query_params["path"]))


class Recorder:
    """Remembers what came to /mcp."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        headers = {name.decode(): value.decode() for name, value in scope.get("headers", [])}
        if scope.get("path") == "/mcp":
            wanted = ["mcp-session-id", "last-event-id"]
            requests.append({"method": scope["method"], **{name: headers.get(name) for name in wanted}})
        await self.app(scope, receive, send)


if __name__ == "__main__":
    app = server.streamable_http_app(event_store=Events(), retry_interval=100)
    uvicorn.run(Recorder(app), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
