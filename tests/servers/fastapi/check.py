"""FastAPI under uvicorn: sse-starlette, FastAPI's own event stream, and a plain StreamingResponse."""

import check
import wire
from check import PATH, TOKENS
from process import Tidegate, fastapi

TITLE = "FastAPI and sse-starlette"
ABOUT = """`tests/servers/fastapi/app.py` streams in the three usual ways: `EventSourceResponse` of sse-starlette (CRLF line
ends, and a comment `: ping - DATE` at an interval), FastAPI's own `EventSourceResponse`, and a plain `StreamingResponse`
that asks `request.is_disconnected()` before each token."""
PACKAGES = ["fastapi", "sse-starlette", "starlette", "uvicorn"]

CONFIG = """\
[[listener]]
address = "127.0.0.1:0"

[upstream.fastapi]
url = "http://127.0.0.1:{port}"

[[route]]
path = "/"
upstream = "fastapi"

# What is no path of a known API is a chat all the same.
[[route]]
path = "/plain"
upstream = "fastapi"
stream = {{ dialect = "openai-chat" }}

[[route]]
path = "/own"
upstream = "fastapi"
stream = {{ dialect = "openai-chat" }}
"""


def run(binary):
    section = check.Section(TITLE, ABOUT)
    with fastapi() as uvicorn, Tidegate(binary, CONFIG.format(port=uvicorn.port)) as tidegate:
        section.show("The configuration", CONFIG.format(port=8901), "toml")
        text = "".join(TOKENS)
        for path in (PATH, "/own", "/plain"):
            direct, through, access = check.compare(section, uvicorn, tidegate, path, {"stream": True, "pace": 0.3}, text)
            if path == PATH:
                section.show("What sse-starlette sends", wire.trace(direct))
                section.show("What came out through tidegate", wire.trace(through))
                section.show("What the log says", access)
            check.step_by_step(section, uvicorn, tidegate, path, TOKENS)
            check.leaving(section, uvicorn, tidegate, path)
            check.breaking(section, uvicorn, tidegate, path)
        pings(section, uvicorn, tidegate)
        check.no_stream(section, uvicorn, tidegate, PATH, {"stream": False})
    return section


def pings(section, uvicorn, tidegate):
    body = {"stream": True, "pace": 0.5, "ping": 1}
    direct, through = (wire.post(port, PATH, body).text() for port in (uvicorn.port, tidegate.port))
    tidegate.access(PATH)
    section.saw(": ping - " in direct and ": ping - " in through, "a ping of sse-starlette passes as the comment that it is")
    same = wire.datas(direct) == wire.datas(through)
    section.saw(same, "pings between the tokens change no event")
