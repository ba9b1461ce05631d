from anthropic import Anthropic


def chat(base, key, request, show, max_retries=2):
    client = Anthropic(base_url=base, api_key=key, max_retries=max_retries)
    with client.messages.create(**request, stream=True) as stream:
        for event in stream:
            show(event)
