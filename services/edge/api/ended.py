"""A stream that did not end well, as a refusal: for those who were told nothing before its end."""

from typing import Final

from services.edge.api.answers.shapes import Problem
from shared.errors import TailraceError
from shared.store.message import Assembled

__all__ = ("failure_of",)

_CANCELLED: Final = Problem(409, "cancelled", "The answer was cancelled.")
_TRIMMED: Final = Problem(410, "log_trimmed", "The beginning of the answer was trimmed from the log.")


def failure_of(whole: Assembled) -> Problem | None:
    """Return the failure that a stream which is over ended with; None if all of its answer is there."""
    meta = whole.meta
    if meta.status == "cancelled":
        return _CANCELLED
    if meta.status == "error":
        said = meta.error or {}
        code = str(said.get("code", TailraceError.code))
        message = str(said.get("message", TailraceError.text))
        return Problem(_status(code), code, message, retryable=bool(said.get("retryable")))
    return _TRIMMED if meta.trimmed else None


def _status(code: str) -> int:
    """Return the status of the error of ours that has this code."""
    kinds = [TailraceError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    return next((kind.status for kind in kinds if kind.code == code), TailraceError.status)
