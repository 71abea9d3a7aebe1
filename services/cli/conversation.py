"""The commands `ask` and `tail`: one stream, from an edge to the terminal."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.cli.printer import Printer, open_printer
from services.console.exit_code import ExitCode
from services.console.failure import Failure
from services.console.invocation import command_line, edge_options
from services.console.terminal import Output
from services.console.waiting import WaitingLine, accompanied
from tailrace.errors import ClientError
from tailrace.stream_reader import Ending, StreamEvent, StreamReader

__all__ = ("Question", "ask", "read_prompt", "tail")

# Long enough for one edge to be gone and another to answer, short enough for a person with a finger on Ctrl-C.
_CANCEL_S: Final = 3.0
# A worker that is there takes a job within milliseconds.
_WORKER_S: Final = 2.0
_PATTERN_CHARS: Final = frozenset("*?[")
_NO_WORKER: Final = "no worker is running; the answer begins when one does"


@dataclass(frozen=True, slots=True)
class Question:
    """The question, as `ask` was given it."""

    prompt: str
    model: str | None = None
    system: str | None = None
    max_tokens: int | None = None

    def body(self, model: str) -> dict[str, Any]:
        """The request of `POST /v1/streams`. No metadata: that would be kept, and shown, as long as the answer."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        body: dict[str, Any] = {"model": model, "messages": [*system, {"role": "user", "content": self.prompt}]}
        return body if self.max_tokens is None else {**body, "max_tokens": self.max_tokens}


@dataclass(slots=True)
class _Bookmark:
    """Prints events and remembers how far it got: the cursor to go on from."""

    printer: Printer
    cursor: str | None

    def take(self, event: StreamEvent) -> None:
        self.printer.event(event)
        self.cursor = event.id or self.cursor


def read_prompt(question: str) -> str:
    """Return the question, `-` from standard input. Raises `Failure` if it is empty."""
    prompt = sys.stdin.read() if question == "-" else question
    if not prompt.strip():
        raise Failure("the question is empty", hint=command_line("ask", "Why is the sky blue?"))
    return prompt


async def ask(question: Question, urls: Sequence[str], output: Output) -> ExitCode:
    """Create a stream and print it as it comes. Cancelled (Ctrl-C), it cancels the stream."""
    line = WaitingLine("waiting for the model")
    printer = open_printer(output, line)
    async with StreamReader.open(urls, notice=printer.remark) as reader:
        model = question.model or _first_model(await reader.providers())
        stream_id = await reader.create(question.body(model))
        follow = command_line("tail", stream_id, *edge_options(urls))
        printer.remark(f"follow from another terminal: {follow}")
        try:
            following = reader.follow(stream_id, printer.event)
            ending = await accompanied(following, _wait(reader, printer, line))
        except asyncio.CancelledError:
            printer.remark(await _stopped(reader, stream_id, follow))
            raise
    return _exit_code(ending)


async def tail(stream_id: str, urls: Sequence[str], output: Output, *, after: str | None) -> ExitCode:
    """Print a stream from a cursor on. Cancelled, it leaves the stream alone and says how to go on."""
    line = WaitingLine("waiting for the next event")
    printer = open_printer(output, line)
    mark = _Bookmark(printer, after)
    async with StreamReader.open(urls, notice=printer.remark) as reader:
        try:
            following = reader.follow(stream_id, mark.take, after=after)
            ending = await accompanied(following, _wait(reader, printer, line))
        except asyncio.CancelledError:
            printer.remark(f"go on from here: {_continuation(stream_id, urls, mark.cursor)}")
            raise
        if ending.event is None:
            printer.remark("nothing follows: the stream ended there")
    return _exit_code(ending)


async def _wait(reader: StreamReader, printer: Printer, line: WaitingLine) -> None:
    """Show that something is waited for; after two seconds, whether there is anybody to wait for."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(line.draw())
        await asyncio.sleep(_WORKER_S)
        if not line.is_over and await reader.workers() == 0 and not line.is_over:
            line.what = "waiting for a worker"
            printer.remark(f"{_NO_WORKER}: {command_line('worker')}")


def _continuation(stream_id: str, urls: Sequence[str], cursor: str | None) -> str:
    after = ["--after", cursor] if cursor else []
    return command_line("tail", stream_id, *after, *edge_options(urls))


async def _stopped(reader: StreamReader, stream_id: str, follow: str) -> str:
    try:
        async with asyncio.timeout(_CANCEL_S):
            await reader.cancel(stream_id)
    except (ClientError, TimeoutError):
        return f"could not cancel it; it goes on: {follow}"
    return f"cancelled; the partial answer is kept: {follow}"


def _first_model(providers: Sequence[Mapping[str, Any]]) -> str:
    for provider in providers:
        for model in provider.get("offers", provider.get("models", ())):
            if not _PATTERN_CHARS.intersection(model):
                return str(model)
    raise Failure("no default model; use --model", hint=_served(providers))


def _served(providers: Sequence[Mapping[str, Any]]) -> str:
    patterns = dict.fromkeys(str(model) for provider in providers for model in provider.get("models", ()))
    if not patterns:
        return "no provider is configured; `tailrace doctor` looks closer"
    return f"served is what matches {', '.join(patterns)}"


def _exit_code(ending: Ending) -> ExitCode:
    if ending.event is None or ending.event.type == "done":
        return ExitCode.OK
    return ExitCode.FAILED
