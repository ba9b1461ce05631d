from openai import OpenAI


def chat(base, key, request, show, max_retries=2):
    client = OpenAI(base_url=f"{base}/v1", api_key=key, max_retries=max_retries)
    with client.chat.completions.create(**request, stream=True) as stream:
        for chunk in stream:
            show(chunk)


def respond(base, key, request, show, max_retries=2):
    client = OpenAI(base_url=f"{base}/v1", api_key=key, max_retries=max_retries)
    with client.responses.create(**request, stream=True) as stream:
        for event in stream:
            if event.type == "response.failed":  # which the package does not raise
                raise RuntimeError(event.response.error.model_dump())
            show(event)
