import json


def of(data, *path):
    for key in path:
        data = data[key] if isinstance(data, dict) and key in data else None
    return data


def finish_reasons(data, choices, reason):
    return [choice.get(reason) for choice in of(data, choices) or []]


def dashscope_reason(data):
    return (finish_reasons(data["output"], "choices", "finish_reason") or [of(data, "output", "finish_reason")])[0]


def dify_error(data):
    if data["event"] == "error":
        return data
    return of(data, "data", "error") if of(data, "data", "status") == "failed" else None


# By dialect: whether an answer is whole with an event, and the error that an event tells.
DIALECTS = {
    "openai-chat": (lambda d, _: any(finish_reasons(d, "choices", "finish_reason")), lambda d, _: of(d, "error")),
    "openai-responses": (
        lambda d, _: d["type"] in ("response.completed", "response.incomplete"),
        lambda d, _: d if d["type"] == "error" else of(d, "response", "error"),
    ),
    "anthropic": (lambda d, _: d["type"] == "message_stop", lambda d, _: of(d, "error")),
    "gemini": (
        lambda d, _: any([*finish_reasons(d, "candidates", "finishReason"), of(d, "promptFeedback", "blockReason")]),
        lambda d, _: of(d, "error"),
    ),
    "ollama": (lambda d, _: of(d, "done") is True, lambda d, _: d if "error" in d else None),
    "dashscope": (lambda d, _: dashscope_reason(d) not in (None, "null"), lambda d, _: None if "output" in d else d),
    "dify": (lambda d, _: d["event"] in ("message_end", "workflow_finished"), lambda d, _: dify_error(d)),
    "coze": (
        lambda _, name: name in ("conversation.chat.completed", "conversation.chat.requires_action", "Done"),
        lambda d, name: d if name in ("error", "Error", "conversation.chat.failed") else None,
    ),
    "mcp": (lambda d, _: "id" in d and "result" in d, lambda d, _: of(d, "error")),
    "ag-ui": (lambda d, _: d["type"] == "RUN_FINISHED", lambda d, _: d if d["type"] == "RUN_ERROR" else None),
    "vercel-ui": (lambda d, _: d["type"] in ("finish", "abort"), lambda d, _: d if d["type"] == "error" else None),
    # A stream of your own: say here how it ends.
    "generic": (lambda _, name: name == "done", lambda d, _: of(d, "error")),
}


class Answer:
    """Follows one answer: give it each event, and ask it whether it is whole once the stream has ended."""

    def __init__(self, dialect, show):
        self.dialect = dialect
        self.finishes, self.error_in = DIALECTS[dialect]
        self.show = show
        self.is_whole = False

    def take(self, name, data):
        if not data:
            return  # so MCP begins
        if data == "[DONE]":
            self.is_whole = self.is_whole or self.dialect == "openai-chat"  # where it says as much as a finish_reason
            return
        message = json.loads(data)
        error = self.error_in(message, name)
        if error and not self.is_whole:
            raise RuntimeError(error)
        if not error:
            self.show(message, name)
        self.is_whole = self.is_whole or self.finishes(message, name)
