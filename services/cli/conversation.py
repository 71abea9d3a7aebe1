"""The commands `ask` and `tail`: one stream, from an edge to the terminal."""

import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.cli.printer import open_printer
from services.client.stream_reader import Ending, StreamReader
from services.console.exit_code import ExitCode
from services.console.failure import Failure
from services.console.terminal import Output
from shared.errors import TailraceError

__all__ = ("Question", "ask", "tail")

# Long enough for one edge to be gone and another to answer, short enough for a person with a finger on Ctrl-C.
_CANCEL_S: Final = 3.0
_METADATA_PROMPT_CHARS: Final = 2000
_PATTERN_CHARS: Final = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Question:
    """What `ask` was told. `prompt` may be `-`: then it is read from standard input."""

    prompt: str
    model: str | None = None
    system: str | None = None
    max_tokens: int | None = None

    def body(self, model: str) -> dict[str, Any]:
        """The request of `POST /v1/streams`; the prompt is metadata too, so that the chat page can show it."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        body: dict[str, Any] = {
            "model": model,
            "messages": [*system, {"role": "user", "content": self.prompt}],
            "metadata": {"prompt": self.prompt[:_METADATA_PROMPT_CHARS]},
        }
        return body if self.max_tokens is None else {**body, "max_tokens": self.max_tokens}


async def ask(question: Question, urls: Sequence[str], output: Output) -> ExitCode:
    """Create a stream and print it as it comes. Cancelled (Ctrl-C), it cancels the stream."""
    question = _read_prompt(question)
    printer = open_printer(output)
    async with StreamReader.open(urls, notice=printer.remark) as reader:
        model = question.model or _first_model(await reader.providers())
        stream_id = await reader.create(question.body(model))
        printer.remark(f"to follow it elsewhere: tailrace tail {stream_id}")
        try:
            ending = await reader.follow(stream_id, printer.event)
        except asyncio.CancelledError:
            printer.remark(await _stopped(reader, stream_id))
            raise
    return _exit_code(ending)


async def tail(stream_id: str, urls: Sequence[str], output: Output, *, after: str | None) -> ExitCode:
    """Print a stream from a cursor on. Cancelled, it leaves the stream alone."""
    printer = open_printer(output)
    async with StreamReader.open(urls, notice=printer.remark) as reader:
        ending = await reader.follow(stream_id, printer.event, after=after)
        if ending.event is None:
            printer.remark("nothing follows: the stream ended there")
    return _exit_code(ending)


async def _stopped(reader: StreamReader, stream_id: str) -> str:
    try:
        async with asyncio.timeout(_CANCEL_S):
            await reader.cancel(stream_id)
    except (TailraceError, TimeoutError):
        return f"could not cancel it; it goes on: tailrace tail {stream_id}"
    return f"cancelled; what was said stays: tailrace tail {stream_id}"


def _read_prompt(question: Question) -> Question:
    prompt = sys.stdin.read() if question.prompt == "-" else question.prompt
    if not prompt.strip():
        raise Failure("the question is empty", hint='tailrace ask "Why is the sky blue?"')
    return Question(prompt, question.model, question.system, question.max_tokens)


def _first_model(providers: Sequence[Mapping[str, Any]]) -> str:
    for provider in providers:
        for model in provider.get("models", ()):
            if not _PATTERN_CHARS.intersection(model):
                return str(model)
    raise Failure("no provider names a model of its own", hint="name one: --model gpt-4o-mini")


def _exit_code(ending: Ending) -> ExitCode:
    if ending.event is None or ending.event.type == "done":
        return ExitCode.OK
    return ExitCode.FAILED
