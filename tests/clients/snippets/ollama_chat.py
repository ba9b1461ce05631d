from ollama import Client


def chat(base, key, request, show):
    client = Client(host=base, headers={"Authorization": f"Bearer {key}"})
    for part in client.chat(**request, stream=True):
        show(part)
