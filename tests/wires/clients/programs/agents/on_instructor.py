"""instructor, which has every answer in a shape: first that of a tool, then that of an answer."""

import json
from typing import Any

import instructor
from openai import OpenAI
from pydantic import BaseModel
from ways import add, serve


class Add(BaseModel):
    """Two numbers to be added."""

    a: int
    b: int


class Answer(BaseModel):
    """The answer for the user."""

    text: str


def run(case: dict[str, Any]) -> dict[str, Any]:
    client = instructor.from_openai(OpenAI(base_url=f"{case['url']}/v1", api_key="none"))
    messages: list[Any] = [{"role": "user", "content": case["question"]}]
    wanted = asked(client, case, messages, Add)
    given = wanted.model_dump()
    call = {"id": "call_1", "type": "function", "function": {"name": "Add", "arguments": json.dumps(given)}}
    messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
    messages.append({"role": "tool", "tool_call_id": "call_1", "content": str(add(**given))})
    answer = asked(client, case, messages, Answer)
    return {"text": answer.text, "calls": [{"name": "add", "arguments": given}]}


def asked(client: Any, case: dict[str, Any], messages: list[Any], shape: type[BaseModel]) -> Any:
    create = client.chat.completions
    if not case["streams"]:
        return create.create(model=case["model"], messages=messages, response_model=shape)
    *_, last = create.create_partial(model=case["model"], messages=messages, response_model=shape)
    return last


if __name__ == "__main__":
    serve(run)
