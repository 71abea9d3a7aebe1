"""The Python client: creating and reading streams over HTTP from any of several edges; nothing of the server's code."""

from typing import TYPE_CHECKING, Any

from tailrace.errors import ClientError, Refused

if TYPE_CHECKING:
    from tailrace.stream_reader import Ending, StreamEvent, StreamReader

__all__ = ("ClientError", "Ending", "Refused", "StreamEvent", "StreamReader")


def __getattr__(name: str) -> Any:
    """Import the reader when it is first asked for: aiohttp takes 0.2 s, and a command's help needs only the errors."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from tailrace import stream_reader

    return getattr(stream_reader, name)
