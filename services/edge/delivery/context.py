"""The parts of the edge that a reader needs, without knowing who owns them."""

from dataclasses import dataclass
from typing import Protocol

from services.edge.delivery.conclusions import Conclusions
from services.edge.delivery.feed import Feed, Follower
from services.edge.delivery.large_frames import LargeFrames
from services.edge.delivery.readers import Readers
from shared.store.state import Meta
from shared.store.store import StreamReads
from shared.telemetry.metrics import Metrics

__all__ = ("Feeds", "ReaderContext")


class Feeds(Protocol):
    """The hub, as far as a reader needs it."""

    def follow(self, reader: Follower, meta: Meta, instead_of: Feed | None) -> Feed:
        """The feed of a stream that is not over."""
        ...

    def share(self, reader: Follower, feed: Feed) -> Feed | None:
        """The same feed for one more reader; None if nothing keeps it up to date any more."""
        ...

    def is_followed(self, feed: Feed) -> bool: ...

    def unfollow(self, reader: Follower, feed: Feed | None) -> None: ...


@dataclass(frozen=True, slots=True)
class ReaderContext:
    """The parts of the edge that a reader needs; all readers have the same."""

    store: StreamReads
    feeds: Feeds
    readers: Readers
    large_frames: LargeFrames
    conclusions: Conclusions
    metrics: Metrics
