"""AG-UI's Python types on httpx: every event is validated, and a cut is gone on with after the last id."""

import time
from typing import Any

import httpx
from ag_ui.core import Event, EventType, RunAgentInput
from httpx_sse import ServerSentEvent, connect_sse
from pydantic import TypeAdapter
from ways import serve

TRIES = 60
EVENTS: TypeAdapter[Any] = TypeAdapter(Event)


class Run:
    def __init__(self) -> None:
        self.said: dict[str, str] = {"text": "", "reasoning": ""}
        self.calls: dict[str, dict[str, str]] = {}
        self.finish: str | None = None
        self.error: str | None = None
        self.cursor = ""

    @property
    def is_over(self) -> bool:
        return self.finish is not None or self.error is not None

    def take(self, sse: ServerSentEvent) -> None:
        event = EVENTS.validate_json(sse.data)
        self.cursor = sse.id or self.cursor
        match event.type:
            case EventType.TEXT_MESSAGE_CONTENT:
                self.said["text"] += event.delta
            case EventType.REASONING_MESSAGE_CONTENT:
                self.said["reasoning"] += event.delta
            case EventType.TOOL_CALL_START:
                # What began before a cut, and had no id yet, begins again after it.
                self.calls[event.tool_call_id] = {"name": event.tool_call_name, "arguments": ""}
            case EventType.TOOL_CALL_ARGS:
                self.calls[event.tool_call_id]["arguments"] += event.delta
            case EventType.MESSAGES_SNAPSHOT:
                self.replace(event.messages)
            case EventType.RUN_FINISHED:
                self.finish = event.outcome.type
            case EventType.RUN_ERROR:
                self.error = event.code

    def replace(self, messages: list[Any]) -> None:
        self.said, self.calls = {"text": "", "reasoning": ""}, {}
        for message in messages:
            kind = {"assistant": "text", "reasoning": "reasoning"}.get(message.role)
            if kind:
                self.said[kind] += message.content or ""
            for call in getattr(message, "tool_calls", None) or ():
                self.calls[call.id] = {"name": call.function.name, "arguments": call.function.arguments}


def run(case: dict[str, Any]) -> dict[str, Any]:
    told, stream = Run(), case["stream"]
    with httpx.Client(base_url=case["url"], timeout=10) as client:
        for _ in range(TRIES):
            try:
                with request(client, case, stream, told.cursor) as source:
                    stream = source.response.headers.get("x-tailrace-stream", stream)
                    for sse in source.iter_sse():
                        told.take(sse)
            except httpx.TransportError:
                time.sleep(0.02)
            if told.is_over:
                break
    return {**told.said, "calls": list(told.calls.values()), "finish": told.finish, "error": told.error}


def request(client: httpx.Client, case: dict[str, Any], stream: str | None, cursor: str) -> Any:
    if stream is None or not (cursor or case["stream"]):
        asked = RunAgentInput(
            thread_id="thread",
            run_id=case["question"][:200],
            messages=[{"id": "question", "role": "user", "content": case["question"]}],
            forwarded_props={"model": case["model"], **case["options"]},
        )
        body = asked.model_dump(by_alias=True, exclude_none=True, mode="json")
        return connect_sse(client, "POST", "/v1/ag-ui", json=body)
    headers = {"last-event-id": cursor} if cursor else {}
    return connect_sse(client, "GET", f"/v1/streams/{stream}/events?wire=ag-ui", headers=headers)


if __name__ == "__main__":
    serve(run)
