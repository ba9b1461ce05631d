"""The official Python client, through tidegate: client.py URL STEP_URL. Prints what it saw as JSON."""

import json
import sys
import time

import anyio
import httpx2
import mcp_types as types
from mcp import Client


async def main(url, step_url):
    notices = []
    changed = anyio.Event()

    async def on_message(message):
        if isinstance(message, types.ServerNotification):
            notices.append(message.method)
            if message.method == "notifications/tools/list_changed":
                changed.set()

    async def count(client):
        """A tool call whose every step is taken only after the notification of the one before it was read."""
        progress = []

        async def on_progress(step, total, message):
            progress.append([step, total, message])
            if step < total:
                async with httpx2.AsyncClient(trust_env=False) as direct:
                    await direct.post(step_url)

        result = await client.call_tool("count", {"to": 5}, progress_callback=on_progress)
        return {"progress": progress, "result": result.content[0].text}

    seen = {}
    async with Client(url, mode="legacy", message_handler=on_message) as client:
        seen["version"] = client.session.protocol_version
        seen["tools"] = sorted(tool.name for tool in (await client.list_tools()).tools)
        seen["count"] = await count(client)
        # The stream for it is opened in the background, after the handshake.
        with anyio.fail_after(10):
            while not changed.is_set():
                await client.call_tool("announce")
                with anyio.move_on_after(0.2):
                    await changed.wait()
        seen["notices"] = sorted(set(notices))
        seen["resume"] = (await client.call_tool("resume")).content[0].text
        error = await client.call_tool("count", {"to": "many"})
        seen["error"] = error.is_error
    async with Client(url) as client:
        seen["modern"] = {"version": client.session.protocol_version, "count": await count(client)}
        begun = anyio.Event()

        async def on_begin(*_):
            begun.set()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: client.call_tool("forever", progress_callback=on_begin))
            with anyio.fail_after(10):
                await begun.wait()
            seen["left"] = time.monotonic()
            tasks.cancel_scope.cancel()
    print(json.dumps(seen))


anyio.run(main, *sys.argv[1:])
