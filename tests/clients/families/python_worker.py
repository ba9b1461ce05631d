"""Runs the Python snippets: a call per line of standard input, each in a thread of its own; what a call sees goes
to standard output, a chunk or the end per line. After each chunk the word is awaited whether to go on."""

import importlib
import inspect
import json
import queue
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "snippets"))
sys.dont_write_bytecode = True

# At once and here: threads that import at the same time may lock each other out.
NAMES = ("openai_chat", "anthropic_messages", "httpx_sse_chat", "ollama_chat")
chats = {name: importlib.import_module(name).chat for name in NAMES}
chats["openai_chat.respond"] = importlib.import_module("openai_chat").respond
words = {}
out = threading.Lock()


class Leave(Exception):
    """Thrown through a snippet: the user has had enough."""


def tell(**message):
    with out:
        print(json.dumps(message), flush=True)


def plain(chunk):
    return chunk.model_dump() if hasattr(chunk, "model_dump") else chunk


def describe(error):
    body = getattr(error, "body", None)
    inner = body.get("error", body) if isinstance(body, dict) else error.args[0] if error.args else None
    response = getattr(error, "response", None)
    return {
        "kind": type(error).__name__,
        "status": getattr(error, "status_code", getattr(response, "status_code", None)),
        "code": (inner.get("code") or inner.get("type")) if isinstance(inner, dict) else None,
        "message": str(error),
    }


def run(id, snippet, **given):
    def show(chunk, name=None):
        tell(id=id, chunk=plain(chunk), name=name)
        if not words[id].get(timeout=10):
            raise Leave(time.time() * 1000)

    try:
        chat = chats[snippet]
        wanted = inspect.signature(chat).parameters
        chat(**{name: value for name, value in given.items() if name in wanted}, show=show)
        tell(id=id)
    except Leave as leave:
        tell(id=id, leftAt=leave.args[0])
    except Exception as error:
        tell(id=id, error=describe(error))


tell(ready=True)
for line in sys.stdin:
    message = json.loads(line)
    if "go" in message:
        words[message["id"]].put(message["go"])
    else:
        words[message["id"]] = queue.Queue()
        threading.Thread(target=run, kwargs=message, daemon=True).start()
