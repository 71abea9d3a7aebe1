"""Pydantic AI's default for OpenAI, the Responses API. It has no cursor: what was cut off is asked for anew."""

import asyncio
from typing import Any

from openai import AsyncOpenAI
from pydantic_ai.direct import model_request_stream
from pydantic_ai.messages import ModelRequest, ModelResponse
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.openai import OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.tools import ToolDefinition
from ways import serve

TOOL = ToolDefinition(name="search", parameters_json_schema={"type": "object", "additionalProperties": True})


def run(case: dict[str, Any]) -> dict[str, Any]:
    return asyncio.run(ask(case))


async def ask(case: dict[str, Any]) -> dict[str, Any]:
    client = AsyncOpenAI(base_url=f"{case['url']}/v1", api_key="unused", max_retries=0, timeout=20)
    model = OpenAIResponsesModel(case["model"], provider=OpenAIProvider(openai_client=client))
    error, message = None, None
    stream = model_request_stream(
        model,
        [ModelRequest.user_text_prompt(case["question"])],
        model_settings={"extra_body": case["options"]},
        model_request_parameters=ModelRequestParameters(function_tools=[TOOL]),
    )
    async with stream as events:
        try:
            async for _ in events:
                message = events.get()
        except Exception as broken:  # noqa: BLE001 - whatever it raises is what it says
            error = getattr(broken, "code", None) or type(broken).__name__
        message = events.get()
        return result(message, error)


def result(message: ModelResponse, error: str | None) -> dict[str, Any]:
    said = {"text": "", "thinking": ""}
    calls = []
    for part in message.parts:
        if part.part_kind in said:
            said[part.part_kind] += part.content
        elif part.part_kind == "tool-call":
            calls.append(
                {
                    "name": part.tool_name,
                    "arguments": part.args if isinstance(part.args, str) else part.args_as_json_str(),
                }
            )
    return {
        "text": said["text"],
        "reasoning": said["thinking"],
        "calls": calls,
        "finish": message.finish_reason,
        "error": error,
        "notes": {"response": (message.provider_response_id or "")[:5]},
    }


if __name__ == "__main__":
    serve(run)
