import json

import httpx
from httpx_sse import connect_sse


def chat(base, key, request, show):
    headers = {"Authorization": f"Bearer {key}"}
    timeout = httpx.Timeout(10, read=60)  # longer than the heartbeat
    with (
        httpx.Client(headers=headers, timeout=timeout) as client,
        connect_sse(client, "POST", f"{base}/v1/chat/completions", json={**request, "stream": True}) as source,
    ):
        source.response.raise_for_status()
        for event in source.iter_sse():
            if event.data == "[DONE]":
                return
            chunk = json.loads(event.data)
            if "error" in chunk:
                raise RuntimeError(chunk["error"])
            show(chunk)
    raise EOFError("the stream ended before [DONE]")
