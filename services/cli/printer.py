"""A stream as it comes, on standard output: words for people, JSON lines for programs; remarks on standard error."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from services.console.terminal import Output, error_console, output_console, printable, write_json
from services.console.waiting import WaitingLine
from tailrace.stream_reader import StreamEvent

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ("JsonPrinter", "PlainPrinter", "Printer", "TerminalPrinter", "open_printer")

# What ends the waiting: everything but the `start` of a connection.
_NO_NEWS: Final = frozenset({"start"})


class Printer(Protocol):
    """The output of `ask` and `tail`."""

    def event(self, event: StreamEvent) -> None:
        """Print one event of the stream, at once."""
        ...

    def remark(self, text: str) -> None:
        """Say something about the stream that is not part of it."""
        ...


def open_printer(output: Output, waiting: WaitingLine) -> Printer:
    """The printer for this output: JSON lines if told so, else text, with more of it on a terminal."""
    if output == "json":
        return JsonPrinter(waiting)
    return TerminalPrinter(waiting) if sys.stdout.isatty() else PlainPrinter(waiting)


class JsonPrinter:
    """One JSON object an event: its fields as they came, the cursor after it as `event_id`."""

    def __init__(self, waiting: WaitingLine) -> None:
        self._remarks = _Remarks(waiting)

    def event(self, event: StreamEvent) -> None:
        self._remarks.saw(event)
        write_json({**event.fields, "event_id": event.id} if event.id else event.fields)

    def remark(self, text: str) -> None:
        self._remarks.say(text)


class PlainPrinter:
    """The text of the answer on standard output, as it came and nothing else; all about it on standard error."""

    def __init__(self, waiting: WaitingLine) -> None:
        self._remarks = _Remarks(waiting)
        self._figures = _Figures()
        self._at_line_start = True

    def event(self, event: StreamEvent) -> None:
        self._remarks.saw(event)
        self._figures.saw(event)
        fields = event.fields
        match event.type:
            case "text" | "refusal":
                self._write(str(fields["delta"]))
            case "tool_call" if "name" in fields:
                self.remark(f"calls the tool {fields['name']}; its arguments are in -o json")
            case "reset":
                self._start_over(fields)
            case _:
                if said := _remark_of(event, self._figures):
                    self.remark(said)

    def remark(self, text: str) -> None:
        self._remarks.say(text)

    def _start_over(self, fields: Mapping[str, Any]) -> None:
        self.remark(_reset_words(fields))
        # What was printed cannot be taken back; at least the two answers do not run into each other.
        if not self._at_line_start:
            self._write("\n")
        for part in fields.get("parts", ()):
            if part["type"] in {"text", "refusal"}:
                self._write(str(part["text"]))

    def _write(self, text: str) -> None:
        # Not through rich: it would turn tabs into spaces.
        sys.stdout.write(text)
        sys.stdout.flush()
        self._at_line_start = text.endswith("\n") if text else self._at_line_start


class TerminalPrinter:
    """The text itself; reasoning dimmed, tool calls as a call, everything else as a remark.

    Control characters are shown, not obeyed.
    """

    def __init__(self, waiting: WaitingLine) -> None:
        self._console = output_console()
        self._remarks = _Remarks(waiting)
        self._figures = _Figures()
        self._kind = "text"
        self._at_line_start = True

    def event(self, event: StreamEvent) -> None:
        self._remarks.saw(event)
        self._figures.saw(event)
        fields = event.fields
        match event.type:
            case "start":
                self.remark(f"model {fields.get('model')}")
            case "text" | "reasoning" | "refusal":
                self._delta(event.type, str(fields["delta"]))
            case "tool_call":
                self._tool_call(fields)
            case "reset":
                self.remark(_reset_words(fields))
                self._parts(fields.get("parts", ()))
            case _:
                if said := _remark_of(event, self._figures):
                    self.remark(said)

    def remark(self, text: str) -> None:
        self._new_line()
        self._remarks.say(text)

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

    def _new_line(self) -> None:
        if not self._at_line_start:
            self._write("\n", style="")

    def _write(self, text: str, *, style: str) -> None:
        text = printable(text)
        if not text:
            return
        self._console.out(text, style=style or None, end="", highlight=False)
        self._at_line_start = text.endswith("\n")


def _remark_of(event: StreamEvent, figures: "_Figures") -> str:
    """Return the remark on a gap or an ending; empty for all else, as unknown types are to be ignored."""
    fields = event.fields
    match event.type:
        case "gap":
            return f"from {fields.get('from')} to {fields.get('to')} is gone: {fields.get('reason')}"
        case "done":
            return figures.after(f"done ({fields.get('finish_reason')})")
        case "error":
            return figures.after(f"error: {fields.get('message')} ({fields.get('code')})")
        case "cancelled":
            return figures.after("cancelled")
        case _:
            return ""


def _reset_words(fields: Mapping[str, Any]) -> str:
    return f"the answer starts over: {fields.get('reason')}"


class _Remarks:
    """Standard error, which may have a line that says what is waited for."""

    def __init__(self, waiting: WaitingLine) -> None:
        self._console: Console = error_console()
        self._waiting = waiting

    def saw(self, event: StreamEvent) -> None:
        if event.type not in _NO_NEWS:
            self._waiting.end()

    def say(self, text: str) -> None:
        self._waiting.clear()
        self._console.print(printable(text), style="dim", markup=False, soft_wrap=True)


class _Figures:
    """Tokens, and seconds since the printer was made to the first of them and to the end."""

    def __init__(self) -> None:
        self._start_s = time.monotonic()
        self._first_s: float | None = None
        self._usage: Mapping[str, Any] = {}

    def saw(self, event: StreamEvent) -> None:
        if event.type == "usage":
            self._usage = event.fields
        if self._first_s is None and event.type in {"text", "reasoning", "refusal", "tool_call"}:
            self._first_s = time.monotonic()

    def after(self, outcome: str) -> str:
        """The outcome, and these figures behind it."""
        tokens = self._usage.get("output_tokens")
        return " · ".join([outcome, *([f"{tokens} tokens"] if tokens else []), *self._times()])

    def _times(self) -> list[str]:
        total = f"{time.monotonic() - self._start_s:.1f} s"
        return [total] if self._first_s is None else [f"first token {self._first_s - self._start_s:.2f} s", total]
