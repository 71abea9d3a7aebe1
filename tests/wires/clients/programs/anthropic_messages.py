"""Anthropic's SDK: the helper that puts a message together. It cannot resume: what it has is what it was told."""

import json
from typing import Any

import anthropic
from ways import serve

CUT = {"ReadError", "RemoteProtocolError"}


def run(case: dict[str, Any]) -> dict[str, Any]:
    client = anthropic.Anthropic(base_url=case["url"], api_key="none", max_retries=0, timeout=80)
    asked = {"model": case["model"], "max_tokens": 4096, "messages": [{"role": "user", "content": case["question"]}]}
    message, error, given = None, None, ""
    with client:
        try:
            with client.messages.stream(**asked, extra_body=case["options"]) as stream:
                for event in stream:
                    given += event.partial_json if event.type == "input_json" else ""
                    message = stream.current_message_snapshot
                message = stream.get_final_message()
        except anthropic.APIStatusError as raised:
            body = raised.body if isinstance(raised.body, dict) else {}
            error = body.get("error", {}).get("code") or type(raised).__name__
        except Exception as raised:  # noqa: BLE001 - its transport's own, if it is cut off
            error = "cut" if type(raised).__name__ in CUT else type(raised).__name__
    return result(message, error, given)


def result(message: Any, error: str | None, given: str) -> dict[str, Any]:
    blocks = message.content if message is not None else []
    calls = [block for block in blocks if block.type == "tool_use"]
    finish = message.stop_reason if message is not None else None
    return {
        "text": "".join(block.text for block in blocks if block.type == "text"),
        "reasoning": "".join(block.thinking for block in blocks if block.type == "thinking"),
        "calls": [{"name": call.name, "arguments": given} for call in calls],
        "finish": finish,
        "error": error,
        "notes": {"inputs": "same" if finish and [call.input for call in calls] == [json.loads(given)] else "other"},
    }


if __name__ == "__main__":
    serve(run)
