"""OpenAI's SDK on chat completions. It has no way to come back; ours is to read the stream again from its beginning."""

import time
from typing import Any

from openai import APIConnectionError, APIError, OpenAI, Stream
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from ways import serve

TRIES = 60


def run(case: dict[str, Any]) -> dict[str, Any]:
    client = OpenAI(base_url=f"{case['url']}/v1", api_key="none")
    return whole(client, case) if case["with"].get("whole") else streamed(client, case)


def whole(client: OpenAI, case: dict[str, Any]) -> dict[str, Any]:
    try:
        return said(client.chat.completions.create(**question(case)))
    except APIError as error:
        return failed(error)


def streamed(client: OpenAI, case: dict[str, Any]) -> dict[str, Any]:
    stream_id, reads_again = case["stream"], case["until"] == "end"
    for _ in range(TRIES):
        state = ChatCompletionStreamState()
        try:
            if stream_id is None:
                raw = client.chat.completions.with_raw_response.create(**question(case), stream=True)
                stream_id = raw.headers["x-tailrace-stream"]
                chunks = raw.parse()
            else:
                chunks = followed(client, stream_id)
            for chunk in chunks:
                state.handle_chunk(chunk)
            if not reads_again:
                return said(state.get_final_completion())
            reads_again = False
        except APIConnectionError:
            time.sleep(0.02)
        except APIError as error:
            return told(state) | failed(error)
    return {"error": "no end"}


def followed(client: OpenAI, stream_id: str) -> Stream[ChatCompletionChunk]:
    return client.get(
        f"/streams/{stream_id}/events",
        options={"params": {"wire": "openai"}},
        cast_to=ChatCompletionChunk,
        stream=True,
        stream_cls=Stream[ChatCompletionChunk],
    )


def question(case: dict[str, Any]) -> dict[str, Any]:
    messages = [{"role": "user", "content": case["question"]}]
    return {"model": case["model"], "messages": messages, "extra_body": case["options"]}


def told(state: ChatCompletionStreamState[Any]) -> dict[str, Any]:
    """What there is of an answer that did not end."""
    try:
        return said(state.current_completion_snapshot)
    except AssertionError:
        # Not a chunk came.
        return {}


def said(completion: ChatCompletion) -> dict[str, Any]:
    (choice,) = completion.choices
    message = choice.message
    calls = [call.function for call in message.tool_calls or () if call.type == "function"]
    return {
        "text": message.content,
        "reasoning": (message.model_extra or {}).get("reasoning_content"),
        "calls": [{"name": call.name, "arguments": call.arguments} for call in calls],
        "finish": choice.finish_reason,
        "error": None,
        "notes": {},
    }


def failed(error: APIError) -> dict[str, Any]:
    return {"error": error.code or type(error).__name__, "notes": {"message": str(error)[:300]}}


if __name__ == "__main__":
    serve(run)
