"""What all programs have in common: cases in, results out, one line each; and our own events, folded."""

import json
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

__all__ = ("Message", "add", "serve")

_saying = threading.Lock()
# Results only; what a package prints goes where complaints go.
_results = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def serve(run: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Run each case in a thread of its own, until there are no more."""
    threads = []
    for line in sys.stdin:
        thread = threading.Thread(target=_run, args=(run, json.loads(line)), daemon=True)
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join()


def _run(run: Callable[[dict[str, Any]], dict[str, Any]], case: dict[str, Any]) -> None:
    try:
        result = run(case)
    except Exception as error:  # noqa: BLE001 - whatever a client raises is what it says
        result = {"error": type(error).__name__, "notes": {"message": str(error)[:500]}}
    with _saying:
        _results.write(json.dumps({"case": case["case"], **result}) + "\n")
        _results.flush()


def add(a: int, b: int) -> int:
    """The sum of two numbers."""
    return a + b


class Message:
    """An answer as the README has it: one JSON object an event."""

    def __init__(self) -> None:
        self.parts: list[dict[str, Any]] = []
        self.finish: str | None = None
        self.error: str | None = None
        self.notes: dict[str, Any] = {}
        self.is_over = False

    def take(self, data: str) -> bool:
        """Fold an event in. Whether that was the last one."""
        event = json.loads(data)
        match event["type"]:
            case "reset":
                self.parts = [dict(part) for part in event["parts"]]
            case "text" | "reasoning" | "refusal" as kind:
                self._say(kind, event["delta"])
            case "tool_call":
                self._call(event)
            case "gap":
                self.notes["gap"] = event["reason"]
            case "done":
                self.finish, self.is_over = event["finish_reason"], True
            case "error":
                self.error, self.is_over = event["code"], True
            case "cancelled":
                self.error, self.is_over = "cancelled", True
        return self.is_over

    def result(self, **notes: Any) -> dict[str, Any]:
        calls = [part for part in self.parts if part["type"] == "tool_call"]
        return {
            "text": self._said("text"),
            "reasoning": self._said("reasoning"),
            "calls": [{"name": call["name"], "arguments": call["arguments"]} for call in calls],
            "finish": self.finish,
            "error": self.error,
            "notes": self.notes | notes,
        }

    def _said(self, kind: str) -> str:
        return "".join(part["text"] for part in self.parts if part["type"] == kind)

    def _say(self, kind: str, text: str) -> None:
        if not self.parts or self.parts[-1]["type"] != kind:
            self.parts.append({"type": kind, "text": ""})
        self.parts[-1]["text"] += text

    def _call(self, event: dict[str, Any]) -> None:
        if "id" in event:
            named = {name: event[name] for name in ("index", "id", "name")}
            self.parts.append({"type": "tool_call", **named, "arguments": ""})
        mine = [part for part in self.parts if part["type"] == "tool_call" and part["index"] == event["index"]]
        mine[-1]["arguments"] += event["arguments_delta"]
