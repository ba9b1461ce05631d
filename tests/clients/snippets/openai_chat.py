from openai import OpenAI


def chat(base, key, request, show, max_retries=2):
    client = OpenAI(base_url=f"{base}/v1", api_key=key, max_retries=max_retries)
    with client.chat.completions.create(**request, stream=True) as stream:
        for chunk in stream:
            show(chunk)
