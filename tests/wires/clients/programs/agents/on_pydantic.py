"""Pydantic AI, whose agents run the loop themselves."""

import asyncio
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.messages import ToolCallPart
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider
from ways import add, serve

MODELS = {"chat": OpenAIChatModel, "responses": OpenAIResponsesModel}


async def answered(case: dict[str, Any]) -> dict[str, Any]:
    provider = OpenAIProvider(base_url=f"{case['url']}/v1", api_key="none")
    agent = Agent(MODELS[case["api"]](case["model"], provider=provider), tools=[add])
    if case["streams"]:
        async with agent.run_stream(case["question"]) as result:
            text, messages = await result.get_output(), result.all_messages()
    else:
        done = await agent.run(case["question"])
        text, messages = done.output, done.all_messages()
    parts = [part for message in messages for part in message.parts if isinstance(part, ToolCallPart)]
    return {"text": text, "calls": [{"name": part.tool_name, "arguments": part.args_as_dict()} for part in parts]}


def run(case: dict[str, Any]) -> dict[str, Any]:
    return asyncio.run(answered(case))


if __name__ == "__main__":
    serve(run)
