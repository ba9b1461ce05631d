"""The litellm proxy: mocked replies, and replies of a provider."""

import json
import secrets

import check
import wire
from check import PATH, TOKENS
from process import PLACE, Server, Tidegate, fastapi, free_port, output

TITLE = "litellm"
ABOUT = """The litellm proxy with the models of `tests/servers/litellm/config.yaml`: one that it mocks, and some of a provider, which
is the FastAPI server of this page. Its master key is put in by tidegate: clients have none. The client is the OpenAI SDK
for Python, through tidegate."""
PACKAGES = ["litellm", "openai", "fastapi", "uvicorn"]
MOCKED = "A mocked answer."

CONFIG = """\
[[listener]]
address = "127.0.0.1:0"

[upstream.litellm]
url = "http://127.0.0.1:{port}"

[[route]]
path = "/v1"
upstream = "litellm"
inject = [{{ bearer = "env:LITELLM_MASTER_KEY" }}]
"""


def run(binary):
    section = check.Section(TITLE, ABOUT)
    here = __file__.rsplit("/", 1)[0]
    port = free_port()
    litellm = [PLACE / "litellm/bin/litellm", "--config", f"{here}/config.yaml", "--host", "127.0.0.1", "--port", str(port)]
    key = f"sk-{secrets.token_hex(32)}"
    env = {"LITELLM_MASTER_KEY": key, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    with (
        fastapi() as provider,
        Server(
            *litellm,
            port=port,
            name="litellm",
            env={**env, "PROVIDER": f"http://127.0.0.1:{provider.port}/v1"},
            cwd=PLACE,
            patience=180,
        ) as proxy,
        Tidegate(binary, CONFIG.format(port=port), env) as tidegate,
    ):
        section.show("The configuration", CONFIG.format(port=4000), "toml")
        body = {"model": "mocked", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        shows_key = [("Authorization", f"Bearer {key}")]
        # The first answer takes seconds longer than any after it.
        wire.post(port, PATH, body, shows_key).text()
        direct, through, access = check.compare(section, proxy, tidegate, PATH, body, MOCKED, shows_key)
        section.show("What litellm sends", wire.trace(direct))
        section.show("What came out through tidegate", wire.trace(through))
        section.show("What the log says", access)
        urls = [f"http://127.0.0.1:{tidegate.port}/v1", f"http://127.0.0.1:{provider.port}/step"]
        sdk(section, provider, json.loads(output(PLACE / "litellm/bin/python", f"{here}/client.py", *urls).splitlines()[-1]))
        tidegate.find(lambda line: "outcome=client:gone" in line, "client that left")
        section.saw(True, "the access line of a client that leaves says outcome=client:gone")
    return section


def sdk(section, provider, seen):
    section.saw("".join(seen["mocked"]) == MOCKED == seen["whole"], "the OpenAI SDK reads the mocked answer, streamed and whole")
    section.saw(seen["tokens"] == TOKENS, "it reads an answer of the provider, through tidegate and litellm")
    section.saw(seen["step"] == TOKENS, "5 tokens, each sent by the provider after the SDK had read the one before it, arrive one by one")
    section.saw(seen["error"], f"the provider crashes in the middle: the SDK raises an error (`{seen['error']}`)")
    ending = check.until("the provider's word on the ending", lambda: wire.get_json(provider.port, f"/ending?path={PATH}"))
    took = ending["at"] - seen["left"]
    section.saw(
        ending["how"] == "cancelled" and took < 2,
        "the SDK leaves an endless answer: litellm stops asking, and within 2 s the provider stops generating",
    )
    print(f"        after {took * 1000:.0f} ms")
