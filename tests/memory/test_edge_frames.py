"""What an edge keeps of the streams it follows is bounded, in each stream and in all of them."""

from prometheus_client import CollectorRegistry

from services.edge.delivery.feed import Feed
from services.edge.delivery.hub import Hub
from shared.log.events import LogEntry, delta
from shared.log.position import EventId, Position
from shared.settings.settings import Settings
from shared.store.memory.store import MemoryStore
from shared.telemetry.metrics import Metrics
from tests.support.streams import begin, nonce

__all__ = ()


async def feed(store: MemoryStore, *, texts: int, quiet_since: float = 0) -> Feed:
    """A feed of a live stream that has taken in some batches of a kilobyte."""
    meta = await store.meta(await begin(store))
    assert meta is not None
    made = Feed(meta, max_bytes=10**6, delivered=lambda _wire, _events: None)
    for number in range(texts):
        end = Position(1, (number + 1) * 1_000)
        made.extend([LogEntry(end, delta("text", "x" * 1_000))])
    made.quiet_since = quiet_since
    return made


async def test_a_feed_lets_its_past_go_and_follows_on() -> None:
    kept = await feed(MemoryStore(), texts=5)
    assert kept.kept_bytes > 5_000
    assert kept.covers(EventId(Position(1, 1_000), nonce(1)))
    freed = kept.let_go()
    assert freed > 5_000
    assert kept.kept_bytes == 0
    assert not kept.covers(EventId(Position(1, 1_000), nonce(1)))
    assert kept.covers(EventId(Position(1, 5_000), nonce(1)))
    kept.extend([LogEntry(Position(1, 5_003), delta("text", "new"))])
    batch = kept.after(5_000)
    assert batch is not None
    assert batch.end == 5_003


async def test_the_quietest_feeds_give_way_when_all_keep_too_much() -> None:
    store = MemoryStore()
    quiet, busy = await feed(store, texts=10, quiet_since=1), await feed(store, texts=10, quiet_since=2)
    settings = Settings.model_construct(edge_buffer_bytes=busy.kept_bytes + 1)
    hub = Hub(store, settings, Metrics.on(CollectorRegistry()), delivered=lambda _wire, _events: None)
    hub.feeds |= {quiet.id: quiet, busy.id: busy}
    before = hub.statistics()["feed_bytes"]
    assert before > settings.edge_buffer_bytes
    hub.bound_feeds()
    assert quiet.kept_bytes == 0
    assert busy.kept_bytes > 0
    assert hub.statistics()["feed_bytes"] <= settings.edge_buffer_bytes
