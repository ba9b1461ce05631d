"""The OpenAI SDK, through tidegate: client.py BASE_URL STEP_URL. Prints what it saw as JSON."""

import json
import sys
import time
import urllib.request

import openai


def deltas(client, model):
    with client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hi"}], stream=True) as stream:
        for chunk in stream:
            if chunk.choices and chunk.choices[0].delta.content:
                yield chunk.choices[0].delta.content


def step(url):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(urllib.request.Request(url, data=b"", method="POST")).close()


def main(base_url, step_url):
    client = openai.OpenAI(base_url=base_url, api_key="sk-none", max_retries=0)
    seen = {name: list(deltas(client, name)) for name in ("mocked", "tokens")}
    # Each token after the first is sent only after the one before it was read.
    seen["step"] = []
    for delta in deltas(client, "step"):
        seen["step"].append(delta)
        step(step_url)
    try:
        list(deltas(client, "breaking"))
        seen["error"] = None
    except openai.APIError as error:
        seen["error"] = str(error)
    answer = client.chat.completions.create(model="mocked", messages=[{"role": "user", "content": "hi"}])
    seen["whole"] = answer.choices[0].message.content
    endless = deltas(client, "endless")
    seen["endless"] = [next(endless) for _ in range(3)]
    seen["left"] = time.monotonic()
    endless.close()
    print(json.dumps(seen))


main(*sys.argv[1:])
