"""The interface between a completion over HTTP, which is the same for all, and the API that a provider speaks.

A dialect is pure: it says what to send and what the bytes that come back mean. Sockets, deadlines and closing are in
`completion.py`. To add one, write a folder beside `openai/` and a line in `registry.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from services.worker.providers.provider import CompletionRequest, Outcome
from shared.errors import ProviderError
from shared.log.events import Event
from shared.settings.providers import ProviderSettings

__all__ = ("Call", "Dialect", "FrameReader")


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a provider; `path` follows its base URL."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)


class FrameReader(Protocol):
    """The bytes of one answer to events. See `CompletionStream` for what they have to be.

    `ended`: the provider said that nothing follows, and what does is not looked at.
    """

    ended: bool

    @property
    def is_whole(self) -> bool:
        """Return whether the provider said that the answer is complete; later failures do not change that."""
        ...

    @property
    def is_going_on(self) -> bool:
        """Return whether content is expected: neither whole nor ended."""
        ...

    @property
    def usage(self) -> dict[str, int] | None:
        """The latest count of tokens."""
        ...

    @property
    def outcome(self) -> Outcome:
        """The way the answer ended; read once `finish` returns nothing more."""
        ...

    @property
    def unknown(self) -> Mapping[str, int]:
        """The number of things that were not understood, by kind."""
        ...

    def feed(self, data: bytes) -> Sequence[Event]:
        """The events that `data` completes. Raises `ProviderError`, but returns what came before the error first."""
        ...

    def finish(self) -> Sequence[Event]:
        """Return the remaining events at the end of the bytes, or after `ended`; called until there are none.

        Raises `ProviderTruncated`, or the error that the last bytes are, if the answer is not whole.
        """
        ...


class Dialect(Protocol):
    """One API for completions. `continuations`: the ways in which an answer can be taken up where it broke off.

    Trusted: to be pure, and to let neither the key nor a provider's words into an error.
    """

    @property
    def name(self) -> str:
        """The name of the dialect in the settings."""
        ...

    @property
    def path(self) -> str:
        """The path of completions, after the base URL."""
        ...

    @property
    def options(self) -> frozenset[str]:
        """The options of a request that it knows; it drops or refuses the others."""
        ...

    @property
    def continuations(self) -> frozenset[str]: ...

    def completion(self, request: CompletionRequest, settings: ProviderSettings, *, key: str | None) -> Call:
        """Return the call for a completion. `key` is None where none is configured."""
        ...

    def probe(self, settings: ProviderSettings, *, key: str | None) -> Call:
        """Return a free call that shows if the provider is reachable and accepts the key: mostly a list of models."""
        ...

    def passes(self, status: int) -> bool:
        """Return whether this answer to the probe is a good one."""
        ...

    def reader(self, media_type: str) -> FrameReader:
        """A reader for an answer of this media type, lower case and without parameters."""
        ...

    def error_of_response(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        """The error behind a response that is no success; `body` is the beginning of what it says."""
        ...
