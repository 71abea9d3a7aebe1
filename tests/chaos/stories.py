"""Histories made by hand: a good one, from which the tests of the checker make bad ones."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tests.chaos.transcript import size_of
from tests.support.history import Asked, Created, Left, Logged, Opened, Received, Record
from tests.support.script import Script, piece

__all__ = ("CONTINUED", "RESTARTED", "Story", "good_story", "script_fields")

CONTINUED = Script("continued", chunks=12, vary=True)
RESTARTED = Script("restarted", chunks=8, vary=True)

_MS = 1_000_000
_NONCES = {1: "aaaaaaa1", 2: "bbbbbbb2"}


@dataclass
class Story:
    """Records in the making. `log` takes what is written, `reader` what is read."""

    records: list[Record] = field(default_factory=list)

    def now(self) -> int:
        return len(self.records) * _MS

    def read(self, reader: str, stream: str, entries: Sequence[tuple[int, int, dict[str, Any]]]) -> None:
        for attempt, offset, data in entries:
            name = f"{attempt}-{offset}.{_NONCES[attempt]}"
            self.records.append(Received(self.now(), reader, stream, "e1", name, data))

    def reset(self, reader: str, stream: str, at: tuple[int, int], parts: list[dict[str, Any]]) -> None:
        data = {"type": "reset", "reason": "new_attempt", "parts": parts}
        name = f"{at[0]}-{at[1]}.{_NONCES[at[0]]}"
        self.records.append(Received(self.now(), reader, stream, "e1", name, data))

    def open(self, reader: str, stream: str, cursor: str | None = None) -> None:
        self.records.append(Opened(self.now(), reader, stream, "e1", cursor))
        if cursor is None:
            self.records.append(Received(self.now(), reader, stream, "e1", None, {"type": "start", "stream": stream}))

    def leave(self, reader: str, stream: str, outcome: str = "done") -> None:
        self.records.append(Left(self.now(), reader, stream, outcome))

    def end(self, stream: str, script: Script, fences: Sequence[int], entries: Sequence[Any], requests: int) -> None:
        named = [(attempt, _NONCES[attempt], keep) for attempt, keep in enumerate(fences, 1)]
        marks = [(attempt, keep, {"type": "fence", "nonce": nonce}) for attempt, nonce, keep in named]
        whole = sorted([*marks, *entries], key=lambda entry: entry[:2])
        self.records.append(Logged(self.now(), stream, "done", whole[-1][1], 0, named, whole))
        self.records.append(Asked(self.now(), script.key, requests))

    def of(self, reader: str) -> list[int]:
        """Where in the records the events of a reader are."""
        return [
            index
            for index, record in enumerate(self.records)
            if isinstance(record, Received) and record.reader == reader and record.id is not None
        ]

    def change(self, index: int, **fields: Any) -> None:
        self.records[index] = replace(self.records[index], **fields)

    def log_of(self, stream: str) -> int:
        """Where in the records the log of a stream is."""
        return next(
            i for i, record in enumerate(self.records) if isinstance(record, Logged) and record.stream == stream
        )


def good_story() -> Story:
    """Two streams that lost their first worker: one was continued, one restarted. Four readers, no promise broken."""
    story = Story()
    _continued(story)
    _restarted(story)
    return story


def _continued(story: Story) -> None:
    story.records.append(Created(0, 0, "s1", script_fields(CONTINUED), "continue"))
    texts = [piece(CONTINUED.key, k, 0) for k in range(CONTINUED.chunks)]
    first = _entries(1, 0, texts[:7])
    keep = first[4][1]
    second = _ended(_entries(2, keep, texts[5:]))
    # `ahead` has seen more than the second attempt kept, `behind` has not, `late` comes when all is over.
    story.open("ahead", "s1")
    story.open("behind", "s1")
    story.read("ahead", "s1", first)
    story.read("behind", "s1", first[:3])
    story.reset("ahead", "s1", (1, keep), [{"type": "text", "text": "".join(texts[:5])}])
    story.read("ahead", "s1", second)
    story.open("behind", "s1", f"1-{first[2][1]}.{_NONCES[1]}")
    story.read("behind", "s1", [*first[3:5], *second])
    story.open("late", "s1")
    story.read("late", "s1", [*first[:5], *second])
    for reader in ("ahead", "behind", "late"):
        story.leave(reader, "s1")
    story.end("s1", CONTINUED, (0, keep), [*first[:5], *second], 2)


def _restarted(story: Story) -> None:
    story.records.append(Created(0, 0, "s2", script_fields(RESTARTED), "restart"))
    first = _entries(1, 0, [piece(RESTARTED.key, k, 0) for k in range(4)])
    second = _ended(_entries(2, 0, [piece(RESTARTED.key, k, 1) for k in range(RESTARTED.chunks)]))
    story.open("witness", "s2")
    story.read("witness", "s2", first)
    story.reset("witness", "s2", (2, 0), [])
    story.read("witness", "s2", second)
    story.leave("witness", "s2")
    story.end("s2", RESTARTED, (0, 0), second, 2)


def script_fields(script: Script) -> dict[str, Any]:
    """The fields of a script as a history keeps them."""
    return {"key": script.key, "chunks": script.chunks, "vary": script.vary}


def _entries(attempt: int, start: int, texts: Sequence[str]) -> list[tuple[int, int, dict[str, Any]]]:
    entries = []
    for text in texts:
        data = {"type": "text", "delta": text}
        start += size_of(data)
        entries.append((attempt, start, data))
    return entries


def _ended(entries: list[tuple[int, int, dict[str, Any]]]) -> list[tuple[int, int, dict[str, Any]]]:
    attempt, offset, _ = entries[-1]
    usage: dict[str, Any] = {"type": "usage", "input": 1, "output": 12}
    return [*entries, (attempt, offset + 1, usage), (attempt, offset + 2, {"type": "done", "finish_reason": "stop"})]
