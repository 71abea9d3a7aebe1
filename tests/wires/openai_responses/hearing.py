"""What a strict client of the Responses API makes of the bytes it gets: written apart from the wire."""

import json
from typing import Any

__all__ = ("ResponsesHearing", "text_of")


class ResponsesHearing:
    """Events of the Responses API, checked as a strict client does: order, items, texts told once more, the end."""

    def __init__(self) -> None:
        self.ending: str | None = None
        self.beats = 0
        self.starts = 0
        self._rest = b""
        self._number = -1
        self._items: dict[int, dict[str, Any]] = {}
        self._has_ended: set[int] = set()
        self._order: list[int] = []
        self._spoken: list[tuple[str, str]] = []

    def feed(self, received: bytes) -> None:
        *lines, self._rest = (self._rest + received).split(b"\n")
        for line in lines:
            self.beats += line.startswith(b":")
            if line.startswith(b"data: "):
                self._take(json.loads(line.removeprefix(b"data: ")))

    def spoken(self) -> list[tuple[str, str]]:
        return self._spoken

    def calls(self) -> list[tuple[int, str, str]]:
        calls = [item for _, item in sorted(self._items.items()) if item["type"] == "function_call"]
        return [(number, item["call_id"], item["name"]) for number, item in enumerate(calls)]

    def _take(self, event: dict[str, Any]) -> None:
        assert self.ending is None, event
        assert event["sequence_number"] > self._number, event
        self._number = event["sequence_number"]
        name = event["type"]
        if name == "error":
            self.ending = {"attempt_restarted": "reset", "log_trimmed": "gap"}.get(event["code"], event["code"])
        elif "response" in event:
            self._take_response(name, event["response"])
        elif name == "response.output_item.added":
            assert event["output_index"] not in self._items
            self._items[event["output_index"]] = event["item"] | {"text": ""}
            if event["item"]["type"] == "function_call":
                self._spoken.append(("tool_call", ""))
                self._order.append(event["output_index"])
        elif name == "response.output_item.done":
            self._end_item(event["output_index"], event["item"])
        elif name.endswith(".delta"):
            self._say(event)
        elif name.endswith(("_text.done", "refusal.done", "arguments.done")):
            said = next(event[field] for field in ("text", "refusal", "arguments") if field in event)
            assert said == self._items[event["output_index"]]["text"]

    def _say(self, event: dict[str, Any]) -> None:
        index = event["output_index"]
        assert index not in self._has_ended
        item = self._items[index]
        item["text"] += event["delta"]
        kinds = {"message": "text", "reasoning": "reasoning", "function_call": "tool_call"}
        kind = "refusal" if "refusal" in event["type"] else kinds[item["type"]]
        if kind == "tool_call":
            calls = [number for number, (said, _) in enumerate(self._spoken) if said == "tool_call"]
            at = calls[self._order.index(index)]
            self._spoken[at] = (kind, item["text"])
        elif self._spoken and self._spoken[-1][0] == kind:
            self._spoken[-1] = (kind, self._spoken[-1][1] + event["delta"])
        else:
            self._spoken.append((kind, event["delta"]))

    def _end_item(self, index: int, item: dict[str, Any]) -> None:
        assert item["id"] == self._items[index]["id"]
        assert index not in self._has_ended
        self._has_ended.add(index)
        if item["status"] == "completed":
            assert text_of(item) == self._items[index]["text"]

    def _take_response(self, name: str, response: dict[str, Any]) -> None:
        self.starts += name == "response.created"
        if name in {"response.created", "response.in_progress"}:
            return
        said = [self._items[index]["text"] for index in sorted(self._items)]
        assert [text_of(item) for item in response["output"]] == said
        assert name != "response.completed" or self._has_ended == set(self._items)
        done = {"completed": "done", "incomplete": "done", "cancelled": "cancelled"}
        status = response["status"]
        self.ending = done.get(status) or response["error"]["message"].rpartition("(")[2].rstrip(")")


def text_of(item: dict[str, Any]) -> str:
    """What an output item says."""
    if item["type"] == "function_call":
        return str(item["arguments"])
    parts = item["summary"] if item["type"] == "reasoning" else item["content"]
    return "".join(part.get("text", part.get("refusal", "")) for part in parts)
