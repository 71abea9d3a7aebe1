"""Errors as a person at a terminal meets them: one line that says what is wrong, one that says what to do."""

from typing import Final

from shared.errors import TailraceError
from tailrace.errors import ClientError, Refused

__all__ = ("Failure", "failure_of", "hint_for", "hint_of")

_HINTS: Final = {
    "invalid_configuration": "`tailrace doctor` names its line; settings are TAILRACE_* variables or in tailrace.toml",
    "store_unavailable": "is Redis running, and is TAILRACE_REDIS_URL right? `tailrace doctor` looks closer",
    "store_denied": "the user of Redis lacks a password or a right; docs/deploy.md has the list",
    "store_misused": "`tailrace doctor` says what Redis lacks",
    "unknown_model": "`curl http://127.0.0.1:8000/v1/providers` lists what is served; name it with --model",
    "unknown_stream": "a stream is kept for an hour after its end; ids are 32 hex digits",
    "invalid_cursor": "an event id looks like 1-345.9f2c01ab",
    "memory_pressure": "finished streams are evicted by and by; try again in a moment",
}


class Failure(TailraceError):
    """A command that could not do its work. `hint` suggests how to go on; empty if the sentence says it all."""

    code = "command_failed"
    text = "The command failed."

    def __init__(self, message: str | None = None, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def failure_of(error: ClientError) -> Failure:
    """Return the failure of a command whose client could not do its work; an edge's refusal brings its own advice."""
    hint = hint_of(error.code) if isinstance(error, Refused) else error.hint
    return Failure(error.message, hint=hint)


def hint_for(error: TailraceError) -> str:
    """Return advice about an error, empty if there is none."""
    if isinstance(error, Failure):
        return error.hint
    return hint_of(error.code)


def hint_of(code: str) -> str:
    """Return advice about an error code, empty if there is none."""
    return _HINTS.get(code, "")
