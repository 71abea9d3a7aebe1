"""What a history can show to be broken. The numbers are those of the promises in the README."""

from dataclasses import asdict, dataclass
from typing import Final

from tests.support.history import Record

__all__ = ("PROMISES", "Violation")

PROMISES: Final = {
    1: "what a reader holds is a prefix of the log: nothing missing, nothing twice, nothing out of order",
    2: "an event id never names two different payloads",
    3: "text from two attempts is never joined without a reset between them",
    4: "once an attempt has been replaced, no reader is sent a newer chunk of the old one",
    5: "every stream ends with exactly one terminal event, and nothing follows it",
    6: "loss is never silent",
    7: "no byte of a stream is sent to a reader of another",
    9: "a reconnecting reader gets its next chunk from any edge within the bound",
    10: "after any fault delivery goes on within the bound",
    12: "every stream ends, and so does every reader",
    13: "on SIGTERM a process hands over what it has and exits within its drain time",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise broken, and the two records that show it: what was so before, and what does not fit to it."""

    promise: int
    said: str
    first: Record | None = None
    second: Record | None = None

    def __str__(self) -> str:
        lines = [f"promise {self.promise} broken ({PROMISES[self.promise]}): {self.said}"]
        for name, record in (("first", self.first), ("second", self.second)):
            if record is not None:
                lines.append(f"  {name}: {type(record).__name__.lower()} {_shortened(record)}")
        return "\n".join(lines)


def _shortened(record: Record) -> dict[str, object]:
    """The fields of a record that fit on a line; a whole log does not."""
    return {name: value for name, value in asdict(record).items() if len(repr(value)) <= 2000}
