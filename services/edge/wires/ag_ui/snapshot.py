"""The messages of a run as they are at a moment, instead of the events that made them."""

from collections.abc import Sequence
from typing import Any

from services.edge.wires.ag_ui.telling import Telling, kind_of, told
from services.edge.wires.parts import events_of
from shared.log.events import Event, json_line

__all__ = ("Messages",)


class Messages:
    """Messages by id, and the state that the log before them leads to."""

    def __init__(self, state: Telling, parts: Sequence[dict[str, Any]]) -> None:
        self.state = state
        self._messages: dict[str, dict[str, Any]] = {}
        for part in parts:
            for event in events_of(part):
                self.state, _ = told(self.state, event)
                self._take(event)

    def __repr__(self) -> str:
        return f"<Messages {list(self._messages)}>"

    def listed(self) -> list[dict[str, Any]]:
        return list(self._messages.values())

    def _take(self, event: Event) -> None:
        if kind := kind_of(event):
            role = "assistant" if kind == "text" else kind
            self._message(self.state.message, role)["content"] += event.value.decode()
        elif event.kind == "tool_call":
            self._call(event.fields())
        elif event.kind == "reasoning_end":
            value = json_line(event.fields()["provider_data"]).decode()
            self._message(self.state.reasoning, "reasoning")["encryptedValue"] = value

    def _call(self, fields: dict[str, Any]) -> None:
        function = {"name": fields["name"], "arguments": fields["arguments_delta"]}
        call: dict[str, Any] = {"id": fields["id"], "type": "function", "function": function}
        if fields.get("provider_data"):
            call["encryptedValue"] = json_line(fields["provider_data"]).decode()
        self._message(self.state.calls[-1].parent, "assistant").setdefault("toolCalls", []).append(call)

    def _message(self, message_id: str, role: str) -> dict[str, Any]:
        return self._messages.setdefault(message_id, {"id": message_id, "role": role, "content": ""})
