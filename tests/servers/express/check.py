"""Express, behind the compression middleware."""

import check
import wire
from check import PATH, TOKENS
from process import PLACE, Server, Tidegate, free_port

TITLE = "Express"
ABOUT = """`tests/servers/express/app.js` streams with `res.write`, behind the `compression` middleware. To a client that accepts
gzip or br, as browsers and SDKs do, the middleware holds the tokens back until the answer ends. tidegate asks for
`accept-encoding: identity`, so it has nothing to compress."""
PACKAGES = ["express", "compression"]
ACCEPTS = [("Accept-Encoding", "gzip, deflate, br")]

CONFIG = """\
[[listener]]
address = "127.0.0.1:0"

[upstream.express]
url = "http://127.0.0.1:{port}"

[[route]]
path = "/"
upstream = "express"
"""


def run(binary):
    section = check.Section(TITLE, ABOUT)
    port = free_port()
    node = Server("node", "app.js", str(port), port=port, name="node", cwd=PLACE / "express")
    with node, Tidegate(binary, CONFIG.format(port=port)) as tidegate:
        section.show("The configuration", CONFIG.format(port=8902), "toml")
        held_back(section, node)
        direct, through, access = check.compare(section, node, tidegate, PATH, {"stream": True, "pace": 0.3}, "".join(TOKENS))
        section.show("What Express sends", wire.trace(direct))
        section.show("What came out through tidegate", wire.trace(through))
        section.show("What the log says", access)
        check.step_by_step(section, node, tidegate, PATH, TOKENS, ACCEPTS)
        check.leaving(section, node, tidegate, PATH)
        check.breaking(section, node, tidegate, PATH)
        check.no_stream(section, node, tidegate, PATH, {"stream": False})
    return section


def held_back(section, node):
    stream = wire.post(node.port, PATH, {"stream": True, "pace": 0.2}, ACCEPTS)
    chunks = stream.rest()
    # The head of a gzip file is 10 bytes; nothing of the answer is in it.
    tokens_at = next(seconds for seconds, _, data in chunks if len(data) > 10)
    held = stream.fields.get("content-encoding") in ("gzip", "br") and tokens_at > 0.7
    section.saw(held, "without tidegate, a client that accepts gzip or br gets all 5 tokens together, at the end")
