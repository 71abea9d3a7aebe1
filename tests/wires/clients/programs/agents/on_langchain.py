"""LangChain's ChatOpenAI in a loop with one tool."""

from typing import Any

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from ways import add, serve

TURNS = 4


def run(case: dict[str, Any]) -> dict[str, Any]:
    chat = ChatOpenAI(
        model=case["model"], base_url=f"{case['url']}/v1", api_key="none", use_responses_api=case["api"] == "responses"
    )
    bound, messages, calls = chat.bind_tools([add]), [HumanMessage(case["question"])], []
    for _ in range(TURNS):
        message = joined(bound.stream(messages)) if case["streams"] else bound.invoke(messages)
        messages.append(message)
        if not message.tool_calls:
            return {"text": message.text, "calls": calls}
        for call in message.tool_calls:
            calls.append({"name": call["name"], "arguments": call["args"]})
            messages.append(ToolMessage(str(add(**call["args"])), tool_call_id=call["id"]))
    return {"error": "no end", "calls": calls}


def joined(chunks: Any) -> Any:
    first, *others = chunks
    for chunk in others:
        first += chunk
    return first


if __name__ == "__main__":
    serve(run)
