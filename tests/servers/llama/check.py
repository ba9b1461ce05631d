"""llama-cpp-python, built from source, with a tiny model of random weights."""

import os
import time
from pathlib import Path

import check
import wire
from check import PATH
from process import PLACE, Server, Tidegate, free_port, output

TITLE = "llama-cpp-python"
ABOUT = """`llama_cpp.server`, built from source, with the model that `tests/servers/llama/model.py` makes: random weights, a
vocabulary of syllables."""
PACKAGES = ["llama_cpp_python", "fastapi", "sse-starlette", "uvicorn"]

CONFIG = """\
[[listener]]
address = "127.0.0.1:0"

[upstream.llama]
url = "http://127.0.0.1:{port}"

[[route]]
path = "/v1"
upstream = "llama"
"""


def run(binary):
    section = check.Section(TITLE, ABOUT)
    port, python = free_port(), PLACE / "llama/bin/python"
    model = PLACE / "llama" / "random.gguf"
    output(python, Path(__file__).with_name("model.py"), model)
    command = [python, "-m", "llama_cpp.server", "--model", model, "--host", "127.0.0.1", "--port", port]
    command += ["--n_ctx", 4096, "--n_threads", 1, "--verbose", "false"]
    with Server(*command, port=port, name="llama", patience=120) as llama, Tidegate(binary, CONFIG.format(port=port)) as tidegate:
        section.show("The configuration", CONFIG.format(port=8000), "toml")
        body = ask(max_tokens=8)
        text = wire.content(wire.datas(wire.post(port, PATH, body).text()))
        direct, through, access = check.compare(section, llama, tidegate, PATH, body, text)
        section.show("What llama-cpp-python sends", wire.trace(direct))
        section.show("What came out through tidegate", wire.trace(through))
        section.show("What the log says", access)
        reads = len({read for _, read, _ in through.chunks})
        section.saw(reads >= 5, "the tokens arrive as they are made, not at once")
        leaving(section, llama, tidegate)
    return section


def ask(**more):
    messages = [{"role": "user", "content": "ba be bi"}]
    return {"model": "random", "messages": messages, "stream": True, "temperature": 0, "seed": 1, **more}


def leaving(section, llama, tidegate):
    """A client that leaves stops the model: the server's use of the processor ends."""
    stream = wire.post(tidegate.port, PATH, ask(max_tokens=4000))
    for _ in range(10):
        stream.chunk()
    busy = processor_time(llama, 0.5)
    left = stream.close()
    check.until("the model to stop", lambda: processor_time(llama, 0.2) < 0.02)
    took = time.monotonic() - left
    section.saw(
        busy > 0.1 and took < 2,
        "the client leaves an answer of 4000 tokens after 10: within 2 s the server uses no processor time any more",
    )
    print(f"        after {took * 1000:.0f} ms; before it used {busy * 2:.0%} of a processor")
    section.saw(" outcome=client:gone " in tidegate.access(PATH), "the access line says outcome=client:gone")


def processor_time(server, seconds):
    """The processor time that a server uses in the next seconds."""

    def used():
        fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = used()
    time.sleep(seconds)
    return used() - before
