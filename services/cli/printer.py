"""A stream as it comes, on standard output: words for people, JSON lines for programs; remarks on standard error."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from services.client.stream_reader import StreamEvent
from services.console.terminal import Output, error_console, is_json, output_console, printable, write_json

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ("JsonPrinter", "Printer", "TextPrinter", "open_printer")


class Printer(Protocol):
    """Where `ask` and `tail` put what they get."""

    def event(self, event: StreamEvent) -> None:
        """Print one event of the stream, at once."""
        ...

    def remark(self, text: str) -> None:
        """Say something about the stream that is not part of it."""
        ...


def open_printer(output: Output) -> Printer:
    return JsonPrinter() if is_json(output) else TextPrinter()


class JsonPrinter:
    """One JSON object an event: its fields as they came, the cursor after it as `event_id`."""

    def __init__(self) -> None:
        self._remarks = error_console()

    def event(self, event: StreamEvent) -> None:
        write_json({**event.fields, "event_id": event.id} if event.id else event.fields)

    def remark(self, text: str) -> None:
        self._remarks.print(text, style="dim", markup=False, soft_wrap=True)


class TextPrinter:
    """The text itself; reasoning dimmed, tool calls as a call, everything else as a remark.

    On a terminal control characters are shown, not obeyed; in a pipe (`-o text`) the text goes out as it came.
    """

    def __init__(self) -> None:
        self._console = output_console()
        self._remarks = error_console()
        self._clean = printable if self._console.is_terminal else str
        self._kind = "text"
        self._at_line_start = True
        self._clock = _Clock()
        self._usage: Mapping[str, Any] = {}

    def event(self, event: StreamEvent) -> None:
        self._clock.saw(event.type)
        fields = event.fields
        match event.type:
            case "start":
                self.remark(f"model {fields.get('model')}")
            case "text" | "reasoning" | "refusal":
                self._delta(event.type, str(fields["delta"]))
            case "tool_call":
                self._tool_call(fields)
            case "usage":
                self._usage = fields
            case "reset":
                self.remark(f"the answer starts over: {fields.get('reason')}")
                self._parts(fields.get("parts", ()))
            case "gap":
                self.remark(f"from {fields.get('from')} to {fields.get('to')} is gone: {fields.get('reason')}")
            case "done" | "error" | "cancelled":
                self._end(event)
            case _:
                pass  # unknown types are to be ignored

    def remark(self, text: str) -> None:
        if self._console.is_terminal:
            self._new_line()
        self._remarks.print(printable(text), style="dim", markup=False, soft_wrap=True)

    def _delta(self, kind: str, text: str) -> None:
        if kind != self._kind:
            self._new_line()
            self._kind = kind
        self._write(text, style="" if kind == "text" else "dim italic")

    def _tool_call(self, fields: Mapping[str, Any]) -> None:
        if "name" in fields:
            self._new_line()
            self._write(f"→ {fields['name']} ", style="cyan")
        self._kind = "tool_call"
        self._write(str(fields.get("arguments_delta", fields.get("arguments", ""))), style="cyan")

    def _parts(self, parts: Sequence[Mapping[str, Any]]) -> None:
        for part in parts:
            if part["type"] == "tool_call":
                self._tool_call(part)
            elif "text" in part:
                self._delta(part["type"], str(part["text"]))

    def _end(self, event: StreamEvent) -> None:
        fields = event.fields
        outcome = {
            "done": f"done ({fields.get('finish_reason')})",
            "error": f"error: {fields.get('message')} ({fields.get('code')})",
            "cancelled": "cancelled",
        }[event.type]
        tokens = self._usage.get("output_tokens")
        figures = [outcome, *([f"{tokens} tokens"] if tokens else []), *self._clock.figures()]
        self.remark(" · ".join(figures))

    def _new_line(self) -> None:
        if not self._at_line_start:
            self._write("\n", style="")

    def _write(self, text: str, *, style: str) -> None:
        text = self._clean(text)
        if not text:
            return
        _out(self._console, text, style=style)
        self._at_line_start = text.endswith("\n")


class _Clock:
    """Seconds since the printer was made, to the first token and to the end."""

    def __init__(self) -> None:
        self._start_s = time.monotonic()
        self._first_s: float | None = None

    def saw(self, kind: str) -> None:
        if self._first_s is None and kind in {"text", "reasoning", "refusal", "tool_call"}:
            self._first_s = time.monotonic()

    def figures(self) -> list[str]:
        total = f"{time.monotonic() - self._start_s:.1f} s"
        return [total] if self._first_s is None else [f"first token {self._first_s - self._start_s:.2f} s", total]


def _out(console: "Console", text: str, *, style: str) -> None:
    # In a pipe the text must not be touched: rich would turn tabs into spaces.
    if not console.is_terminal:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    console.out(text, style=style or None, end="", highlight=False)
