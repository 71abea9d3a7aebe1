"""What a stream may say: its provider's text is a pure function of (key, attempt, k), so it needs no witness."""

from collections.abc import Iterator

from tests.chaos.transcript import Transcript
from tests.support.script import Fault, Script, expected

__all__ = ("Oracle", "script_from")

# Long enough that two streams do not share them by chance: two hex words.
_WINDOW_BYTES = 12


class Oracle:
    """The answers of one script, one for each time its provider was asked."""

    def __init__(self, script: Script, requests: int) -> None:
        self._script = script
        self._requests = max(requests, 1) if script.vary else 1
        self._answers: list[bytes] = []

    def is_answer(self, written: bytes) -> bool:
        """Whether this is the whole of one answer."""
        return any(answer == written for answer in self._each())

    def is_beginning(self, written: bytes) -> bool:
        """Whether one answer begins like this."""
        return any(answer.startswith(written) for answer in self._each())

    def stranger(self, written: bytes) -> bytes:
        """The first bytes that no answer has in this place."""
        same = max((_common(answer, written) for answer in self._each()), default=0)
        return written[same : same + _WINDOW_BYTES]

    def contains(self, window: bytes) -> bool:
        """Whether these bytes are somewhere in one answer."""
        return len(window) == _WINDOW_BYTES and any(window in answer for answer in self._each())

    def _each(self) -> Iterator[bytes]:
        yield from self._answers
        while len(self._answers) < self._requests:
            self._answers.append(_answer(self._script, len(self._answers)))
            yield self._answers[-1]


def script_from(fields: dict[str, object]) -> Script:
    """The script behind the fields that a history keeps of it."""
    plain = dict(fields)
    fault = plain.pop("fault", None)
    return Script(**plain, fault=Fault(**fault) if isinstance(fault, dict) else None)  # type: ignore[arg-type]


def _common(one: bytes, other: bytes) -> int:
    """How many bytes two texts begin with together."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _answer(script: Script, attempt: int) -> bytes:
    transcript = Transcript()
    for kind, text in expected(script, attempt=attempt):
        if kind == "tool_call":
            call = {"type": kind, "index": 0, "id": f"call_{script.key}", "name": "search", "arguments": text}
            transcript.add_part(call)
        else:
            transcript.add_part({"type": kind, "text": text})
    return bytes(transcript.written)
