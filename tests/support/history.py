"""What was done and seen in one run: one record a line of JSON, in the order of one clock.

Clients, the nemesis, the provider and the store all write here, and `tests/chaos/checker.py` reads nothing else. Times
are nanoseconds of a clock that never goes back.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, get_args

import orjson

__all__ = (
    "Asked",
    "Closed",
    "Created",
    "Evicted",
    "Failed",
    "History",
    "Left",
    "Logged",
    "Met",
    "Noted",
    "Opened",
    "Received",
    "Record",
    "Refused",
    "Removed",
    "Struck",
    "load",
)

Fields = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Created:
    """A stream was made. `script` is what its provider plays, as the fields of a `Script`.

    Redis had it at some moment between `asked_ns`, when the call began that was answered, and `at_ns`.
    """

    at_ns: int
    asked_ns: int
    stream: str
    script: Fields
    policy: str = ""


@dataclass(frozen=True, slots=True)
class Opened:
    """A reader has a response to read. `cursor` is the event id that it sent along."""

    at_ns: int
    reader: str
    stream: str
    edge: str
    cursor: str | None


@dataclass(frozen=True, slots=True)
class Refused:
    """A reader was answered something else than events: an HTTP status and the code in its body."""

    at_ns: int
    reader: str
    stream: str
    edge: str
    status: int
    code: str = ""


@dataclass(frozen=True, slots=True)
class Received:
    """One event. `data` is its JSON, `id` its event id, None for what the edge says about the log itself."""

    at_ns: int
    reader: str
    stream: str
    edge: str
    id: str | None
    data: Fields


@dataclass(frozen=True, slots=True)
class Closed:
    """A connection of a reader ended."""

    at_ns: int
    reader: str
    stream: str
    edge: str
    why: str


@dataclass(frozen=True, slots=True)
class Left:
    """A reader is through. `outcome`: done, error, cancelled, gone; anything else is no end at all."""

    at_ns: int
    reader: str
    stream: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault of the nemesis, when it was over.

    `loses` says that it may lose what Redis had acknowledged, `fills` that Redis had no room meanwhile.
    """

    at_ns: int
    fault: str
    took_effect: bool
    said: str = ""
    loses: bool = False
    began_ns: int = 0
    fills: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """A promise that broke before the eyes of the harness alone: a process that did not end in time, for one."""

    at_ns: int
    promise: int
    said: str


@dataclass(frozen=True, slots=True)
class Removed:
    """The nemesis took a stream away; from now on its readers may be told that it is gone."""

    at_ns: int
    stream: str


@dataclass(frozen=True, slots=True)
class Evicted:
    """A stream was taken away by the workers, to make room: its tombstone says when."""

    at_ns: int
    stream: str


@dataclass(frozen=True, slots=True)
class Met:
    """How often an injection met a step of the store under way, in the whole run."""

    at_ns: int
    fault: str
    step: str
    times: int


@dataclass(frozen=True, slots=True)
class Noted:
    """A line of a process' log, or of the harness itself. For people; the checker does not look at it."""

    at_ns: int
    process: str
    said: str


@dataclass(frozen=True, slots=True)
class Asked:
    """How often the provider was asked for a script, at the end."""

    at_ns: int
    key: str
    requests: int


@dataclass(frozen=True, slots=True)
class Logged:
    """A stream as the store holds it at the end; without `status` it holds none.

    `fences` are (attempt, nonce, keep); `entries` are (attempt, offset, data), data as readers would get it. `trims`
    are all offsets up to which it was ever trimmed, where somebody watched; a new start and a failover forget them.
    """

    at_ns: int
    stream: str
    status: str = ""
    tail: int = 0
    trimmed: int = 0
    fences: list[tuple[int, str, int]] = field(default_factory=list)
    entries: list[tuple[int, int, Fields]] = field(default_factory=list)
    trims: list[int] | None = None


Seen = Created | Opened | Refused | Received | Closed | Left
Done = Struck | Failed | Removed | Met | Noted
Found = Asked | Evicted | Logged
Record = Seen | Done | Found
_KINDS: dict[str, Callable[..., Record]] = {kind.__name__.lower(): kind for kind in get_args(Record)}


class History:
    """The records of a run, kept in memory and, with a path, on disk. `clock_ns` tells the time."""

    def __init__(self, clock_ns: Callable[[], int], path: Path | None = None) -> None:
        self.records: list[Record] = []
        self.now = clock_ns
        self._file: IO[bytes] | None = path.open("wb") if path else None

    def __repr__(self) -> str:
        return f"<History {len(self.records)} records>"

    def add(self, record: Record) -> None:
        self.records.append(record)
        if self._file is not None:
            self._file.write(_line(record))

    def note(self, process: str, said: str) -> None:
        self.add(Noted(self.now(), process, said))

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def load(lines: Iterable[bytes]) -> Iterator[Record]:
    """The records of a file that a `History` wrote."""
    for line in lines:
        fields = orjson.loads(line)
        yield _KINDS[fields.pop("kind")](**fields)


def _line(record: Record) -> bytes:
    return orjson.dumps({"kind": type(record).__name__.lower(), **asdict(record)}) + b"\n"
