"""The text of measured events: the time it was made, and one character that occurs once an event and nowhere else."""

from typing import Final

__all__ = ("MARK", "TEXT_BYTES", "marked", "newest_ns")

# One byte cannot be split between two reads, so counting it counts events.
MARK: Final = b"~"
_DIGITS: Final = 19


def marked(now_ns: int) -> bytes:
    """The text of one event, always of the same length, the same in JSON."""
    return b" t:%019d~" % now_ns


TEXT_BYTES: Final = len(marked(0))


def newest_ns(data: bytes | bytearray, end: int) -> int | None:
    """The time in the last mark before `end`; None if there is no whole one."""
    at = data.rfind(MARK, 0, end)
    digits = data[max(at - _DIGITS, 0) : max(at, 0)]
    return int(digits) if len(digits) == _DIGITS and digits.isdigit() else None
