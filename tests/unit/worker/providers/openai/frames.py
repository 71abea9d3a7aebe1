"""Answers of providers in a few words: `D(content="a")` is a chunk with that delta, `STOP` the end."""

import json
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from services.worker.providers.openai.chunks import ChunkReader
from shared.errors import ProviderError
from shared.log.events import Event

__all__ = ("DONE", "STOP", "Answer", "D", "answer_of", "frame", "tool")

DONE = b"data: [DONE]\n\n"


def frame(chunk: object) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def D(finish_reason: str | None = None, /, **delta: Any) -> bytes:
    return frame({"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})


def tool(*calls: dict[str, Any]) -> bytes:
    return D(tool_calls=list(calls))


STOP = D("stop") + DONE


class Answer:
    """What a reader makes of an answer: all its events, and how it ended."""

    def __init__(self, frames: Sequence[bytes], *, is_declared: bool = True) -> None:
        self.reader = ChunkReader(is_declared=is_declared)
        self.events: list[Event] = []
        self.error: ProviderError | None = None
        try:
            for each in frames:
                self.events += self.reader.feed(each)
            while events := self.reader.finish():
                self.events += events
        except ProviderError as error:
            self.error = error

    @property
    def texts(self) -> list[tuple[str, str]]:
        """The parts of the answer that are text, neighbours of a kind joined."""
        said = [event for event in self.events if event.kind in {"text", "reasoning", "refusal"}]
        return [(kind, b"".join(each.value for each in run).decode()) for kind, run in groupby(said, lambda e: e.kind)]

    @property
    def calls(self) -> list[tuple[str, str, str]]:
        """Id, name and arguments of each call, in the order of their indexes."""
        found: dict[int, list[str]] = {}
        for event in self.events:
            if event.kind == "tool_call":
                fields = event.fields()
                if "id" in fields:
                    assert fields["index"] not in found
                    found[fields["index"]] = [fields["id"], fields["name"], ""]
                found[fields["index"]][2] += fields["arguments_delta"]
        return [(call[0], call[1], call[2]) for _, call in sorted(found.items())]

    def fields(self, kind: str) -> list[dict[str, Any]]:
        return [event.fields() for event in self.events if event.kind == kind]

    @property
    def end(self) -> str | type[ProviderError]:
        """The finish reason, or the class of the error."""
        return self.reader.outcome.finish_reason if self.error is None else type(self.error)


def answer_of(*frames: bytes, cut: int | None = None, is_declared: bool = True) -> Answer:
    """The answer in these frames, read frame by frame or `cut` bytes at a time. Both have to be the same."""
    if cut is None:
        return Answer(frames, is_declared=is_declared)
    whole = b"".join(frames)
    return Answer([whole[i : i + cut] for i in range(0, len(whole), cut)], is_declared=is_declared)
