"""LiteLLM in a loop with one tool."""

import json
from typing import Any

import litellm
from ways import add, serve

ADD = {"type": "function", "function": {"name": "add", "description": add.__doc__, "parameters": {
    "type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"],
}}}  # fmt: skip
TURNS = 4


def run(case: dict[str, Any]) -> dict[str, Any]:
    messages: list[Any] = [{"role": "user", "content": case["question"]}]
    calls = []
    for _ in range(TURNS):
        message = turn(case, messages)
        if not message.tool_calls:
            return {"text": message.content, "calls": calls}
        messages.append(message.model_dump())
        for call in message.tool_calls:
            given = json.loads(call.function.arguments)
            calls.append({"name": call.function.name, "arguments": given})
            messages.append({"role": "tool", "tool_call_id": call.id, "content": str(add(**given))})
    return {"error": "no end", "calls": calls}


def turn(case: dict[str, Any], messages: list[Any]) -> Any:
    answer = litellm.completion(
        model=f"openai/{case['model']}", api_base=f"{case['url']}/v1", api_key="none",
        messages=messages, tools=[ADD], stream=case["streams"],
    )  # fmt: skip
    if case["streams"]:
        answer = litellm.stream_chunk_builder(list(answer), messages=messages)
    return answer.choices[0].message


if __name__ == "__main__":
    serve(run)
