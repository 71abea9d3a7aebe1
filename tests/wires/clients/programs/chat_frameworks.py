"""Frameworks on OpenAI's SDK: LangChain and LiteLLM, streamed, and instructor, which asks for whole answers."""

import os
from typing import Any

from openai import APIError
from ways import serve


def langchain(case: dict[str, Any]) -> dict[str, Any]:
    from langchain_openai import ChatOpenAI

    chat = ChatOpenAI(model=case["model"], base_url=f"{case['url']}/v1", api_key="none", extra_body=case["options"])
    whole, problem = None, None
    try:
        for chunk in chat.stream(case["question"]):
            whole = chunk if whole is None else whole + chunk
    except APIError as error:
        problem = named(error)
    calls = whole.tool_call_chunks if whole else ()
    return {
        "text": whole.text if whole else "",
        "calls": [{"name": call["name"], "arguments": call["args"]} for call in calls],
        "finish": whole.response_metadata.get("finish_reason") if whole else None,
        "error": problem,
    }


def litellm(case: dict[str, Any]) -> dict[str, Any]:
    # Else it asks the net for prices first.
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "true"
    import litellm

    chunks: list[Any] = []
    problem = None
    try:
        chunks.extend(
            litellm.completion(
                model=f"openai/{case['model']}", api_base=f"{case['url']}/v1", api_key="none", stream=True,
                messages=[{"role": "user", "content": case["question"]}], extra_body=case["options"],
            )
        )  # fmt: skip
    except Exception as error:  # noqa: BLE001 - its errors have no class in common
        problem = named(error)
    built = litellm.stream_chunk_builder(chunks) if chunks else None
    result = said(built) if built else {}
    # What ends too early has ended well, by its builder.
    return result | ({"finish": None, "error": problem} if problem else {})


def instructor(case: dict[str, Any]) -> dict[str, Any]:
    import instructor
    from openai import OpenAI

    client = instructor.from_openai(OpenAI(base_url=f"{case['url']}/v1", api_key="none"))
    messages = [{"role": "user", "content": case["question"]}]
    try:
        return said(
            client.chat.completions.create(
                response_model=None, model=case["model"], messages=messages, extra_body=case["options"]
            )
        )
    except APIError as error:
        return {"error": named(error)}


def said(completion: Any) -> dict[str, Any]:
    (choice,) = completion.choices
    calls = [call.function for call in choice.message.tool_calls or ()]
    return {
        "text": choice.message.content,
        "reasoning": getattr(choice.message, "reasoning_content", None),
        "calls": [{"name": call.name, "arguments": call.arguments} for call in calls],
        "finish": choice.finish_reason,
        "error": None,
    }


def named(error: Exception) -> str:
    """Our code, which LiteLLM has under errors of its own; else the class of what was raised."""
    cause: BaseException | None = error
    while cause is not None:
        code = getattr(cause, "code", None)
        if code and not str(code).isdigit():
            return str(code)
        cause = getattr(cause, "original_exception", None) or cause.__cause__ or cause.__context__
    return type(error).__name__


RUNS = {"langchain": langchain, "litellm": litellm, "instructor": instructor}


if __name__ == "__main__":
    serve(lambda case: RUNS[case["with"]["framework"]](case))
