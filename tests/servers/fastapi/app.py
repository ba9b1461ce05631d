"""A FastAPI server with the three usual ways to stream: sse-starlette, FastAPI's own, and a plain StreamingResponse."""

import asyncio
import json
import time

from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse as OwnResponse
from sse_starlette.sse import EventSourceResponse

TOKENS = ["你好", "，", "world", "\n", "🌍"]

app = FastAPI()
# A token after the first is sent when somebody asks for it: whoever holds up a token is noticed.
steps = asyncio.Semaphore(0)
# How the streams ended, by path; times are of the clock that all processes of the machine share.
endings = {}


def chunk(content, finish=None):
    delta = {"content": content} if content is not None else {}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "tokens", "choices": [choice]}


async def chunks(path, body):
    """The answer in chunks: `pace` seconds apart, or one for each step; for ever, or breaking off after some."""
    endings.pop(path, None)
    pace, sent = body.get("pace", 0.3), 0
    try:
        while sent < len(TOKENS) or body.get("endless"):
            if sent == body.get("break_after"):
                raise RuntimeError("the model crashed")
            if sent > 0:
                await (steps.acquire() if pace == "step" else asyncio.sleep(pace))
            yield chunk(TOKENS[sent % len(TOKENS)])
            sent += 1
        yield chunk(None, "stop")
        endings[path] = {"how": "finished", "at": time.monotonic(), "tokens": sent}
    except (asyncio.CancelledError, GeneratorExit):
        endings[path] = {"how": "cancelled", "at": time.monotonic(), "tokens": sent}
        raise


@app.post("/v1/chat/completions")
async def completions(request: Request):
    body = await request.json()
    if not body.get("stream"):
        return chunk("".join(TOKENS), "stop")

    async def events():
        async for each in chunks("/v1/chat/completions", body):
            yield {"data": json.dumps(each, ensure_ascii=False)}
        yield {"data": "[DONE]"}

    return EventSourceResponse(events(), ping=body.get("ping", 15))


@app.post("/own", response_class=OwnResponse)
async def own(body: dict):
    async for each in chunks("/own", body):
        yield each


@app.post("/plain")
async def plain(request: Request):
    body = await request.json()

    async def lines():
        stream = chunks("/plain", body)
        async for each in stream:
            if await request.is_disconnected():
                await stream.aclose()
                return
            yield f"data: {json.dumps(each, ensure_ascii=False)}\n\n"
        yield "data: [DONE]\n\n"

    return StreamingResponse(lines(), media_type="text/event-stream")


@app.post("/step")
async def step():
    steps.release()


@app.get("/ending")
async def ending(path: str):
    return endings.get(path)
