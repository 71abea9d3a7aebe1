"""The interface between the worker and whoever generates the text.

A stream is a small object that is opened, read and closed rather than an async generator: its deadlines live inside
`read`, and no generator is ever suspended within a timeout (PEP 789).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, runtime_checkable

import orjson

from shared.log.events import Event
from shared.settings.providers import ProviderSettings

__all__ = ("UNKNOWN_REASON", "CompletionRequest", "CompletionStream", "Outcome", "Pouring", "Provider")

# What ended the answer was not said. `stop` would be a guess, and readers act on it.
UNKNOWN_REASON = "unknown"


@dataclass(frozen=True, slots=True)
class CompletionRequest:
    """A question to a provider. `options` are the caller's parameters; a dialect passes on those that it knows.

    `extra` are members that the worker itself has to add for this provider.
    """

    model: str
    messages: Sequence[Mapping[str, Any]] = field(repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """The request behind a stored body: an object with `model`, `messages` and options. Trusted input only."""
        fields = orjson.loads(body)
        return cls(fields.pop("model"), fields.pop("messages"), fields)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of an answer. `usage` counts tokens: input, output, total, and where given reasoning and cached."""

    finish_reason: str
    usage: dict[str, int] | None


class CompletionStream(Protocol):
    """One answer while it is generated. Used by one task; only `aclose` may be called from another.

    Guaranteed: events come in order, none is empty, none is larger than `MAX_EVENT_BYTES` of payload (but for opaque
    provider data, which has a bound of its own), none is terminal.
    What arrived before a failure is returned before the failure is raised. At most one `usage` event comes, the last.
    Every wait has a deadline of the provider's settings. Every exception is a `ProviderError` whose words are ours.
    Trusted: to be closed by its owner, whatever happens.
    """

    @property
    def has_begun(self) -> bool:
        """Return whether `read` has returned events: from then on another provider cannot take over unnoticed."""
        ...

    @property
    def usage(self) -> dict[str, int] | None:
        """The provider's latest count, also of an answer that did not end well."""
        ...

    @property
    def outcome(self) -> Outcome | None:
        """Set before `read` returns `None`."""
        ...

    @property
    def unknown(self) -> Mapping[str, int]:
        """The number of things from the provider that were not understood, by kind: a few fixed words."""
        ...

    async def open(self) -> None:
        """Send the request and wait for the response to begin."""
        ...

    async def read(self) -> Sequence[Event] | None:
        """The events of what one look at the socket brought, at least one; `None` is the clean end.

        Time between two calls counts only towards the deadline of the whole stream.
        """
        ...

    async def aclose(self) -> None:
        """Cut the connection at once, so that the provider stops generating. Never waits; may be repeated.

        An `open` or `read` that is waiting in another task raises a `ProviderError` then.
        """
        ...


@runtime_checkable
class Pouring(Protocol):
    """An extra ability of some streams: hand over events at the moment they come in, without waking their reader."""

    async def pour(self, take: Callable[[Sequence[Event]], bool]) -> None:
        """Between two calls of `read`, as if it were called over and over, until `take` wants no more.

        Also returns, at once or later, when there is something that only `read` can tell: the first events, the end,
        a failure. `take` must not raise.
        """
        ...


class Provider(Protocol):
    """A completion API named by the operator."""

    @property
    def name(self) -> str: ...

    @property
    def settings(self) -> ProviderSettings: ...

    def stream(self, request: CompletionRequest) -> CompletionStream:
        """An answer that has not been asked for yet: `open` sends the request."""
        ...

    async def probe(self) -> None:
        """Return if the provider can be reached and takes our key; raise a `ProviderError` otherwise."""
        ...
