import httpx
from httpx_sse import connect_sse

from answer import Answer


def chat(url, key, request, show, dialect="openai-chat"):
    answer = Answer(dialect, show)
    headers = {"Authorization": f"Bearer {key}"}
    timeout = httpx.Timeout(10, read=60)  # longer than the heartbeat
    with (
        httpx.Client(headers=headers, timeout=timeout) as client,
        connect_sse(client, "POST", url, json={"stream": True, **request}) as source,
    ):
        source.response.raise_for_status()
        for event in source.iter_sse():  # to the very end: who leaves at [DONE] is logged as gone
            answer.take(event.event, event.data)
    if not answer.is_whole:
        raise EOFError("the stream ended before the answer did")
