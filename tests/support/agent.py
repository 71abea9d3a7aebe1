"""A scripted model that uses the tools it is offered: it calls one, and then speaks of the result."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from tests.support.script import Step, content_of

__all__ = ("ARGUMENTS", "agent_steps", "tool_of")

# What it calls a tool with. Two numbers, because what is to be added can be told from what was said.
ARGUMENTS: Final = {"a": 2, "b": 40}
_PIECE_CHARS: Final = 5


def agent_steps(body: Mapping[str, Any]) -> Iterator[Step]:
    """The deltas of a turn: a call, until there is a result; then the answer, in a call if that is asked for."""
    results = _results(body["messages"])
    answer = f"It is {results[-1]}." if results else ""
    if not results:
        yield from _pieces("tool_call", json.dumps(ARGUMENTS))
    elif isinstance(body.get("tool_choice"), Mapping):
        yield from _pieces("tool_call", json.dumps({"text": answer}))
    else:
        yield from _pieces("text", answer)


def tool_of(body: Mapping[str, Any]) -> str:
    """The name of the tool that is called: the one that it must be, or the first."""
    choice = body.get("tool_choice")
    chosen = choice if isinstance(choice, Mapping) else body["tools"][0]
    name: str = chosen["function"]["name"]
    return name


def _pieces(kind: str, text: str) -> Iterator[Step]:
    return (Step(kind, text[start : start + _PIECE_CHARS]) for start in range(0, len(text), _PIECE_CHARS))


def _results(messages: Sequence[Mapping[str, Any]]) -> list[str]:
    return [content_of(message) for message in messages if message["role"] == "tool"]
