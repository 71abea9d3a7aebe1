"""A batch is framed once, and cut exactly."""

from services.edge.delivery.batch import Batch
from services.edge.wires.ndjson import NDJSON
from services.edge.wires.sse import SSE
from shared.log.events import Event, LogEntry, delta, done, tool_call
from shared.log.position import EventId, Position
from tests.support.sse_client import History, NdjsonParser, SseParser

__all__ = ()

NONCES = {1: "0000000a", 2: "0000000b"}
EVENTS = (delta("text", "né"), delta("reasoning", "漢字"), tool_call(0, "{}", call_id="c", name="f"), done("stop"))


def batch_of(*events: Event, start: int = 0, attempt: int = 1) -> Batch:
    entries, offset = [], start
    for event in events:
        offset += event.size
        entries.append(LogEntry(Position(attempt, offset), event))
    return Batch(entries, NONCES)


def test_it_reaches_from_the_start_of_its_first_event_to_the_end_of_its_last() -> None:
    batch = batch_of(*EVENTS, start=10)
    assert (batch.start, batch.end, batch.is_last) == (10, 10 + 3 + 6 + 3 + 1, True)
    assert batch.cursor == EventId(Position(1, 23), "0000000a")
    assert repr(batch) == "<Batch 10..23 events=4>"


def test_both_wires_say_the_same() -> None:
    batch = batch_of(*EVENTS)
    sse, ndjson = SseParser().feed(batch.frames(SSE, None)), NdjsonParser().feed(batch.frames(NDJSON, None))
    assert sse == ndjson
    assert len(sse) == len(EVENTS)


def test_a_frame_is_made_once() -> None:
    batch = batch_of(*EVENTS)
    assert batch.frames(SSE, None) is batch.frames(SSE, None)


def test_ids_carry_the_nonce_of_the_attempt_that_wrote_the_event() -> None:
    entries = [LogEntry(Position(1, 1), delta("text", "a")), LogEntry(Position(2, 2), delta("text", "b"))]
    ids = [item.id for item in SseParser().feed(Batch(entries, NONCES).frames(SSE, None))]
    assert ids == ["1-1.0000000a", "2-2.0000000b"]


def test_every_cut_between_characters_gives_what_is_lacking() -> None:
    batch = batch_of(*EVENTS)
    for offset in (0, 1, 3, 6, 9, 10, 11, 12):
        rest = batch.after(offset)
        assert rest is not None
        history = History(units=offset, attempt=1)
        # The opened call whose arguments may follow.
        history.parts = [{"type": "tool_call", "index": 0, "id": "c", "name": "f", "arguments": ""}]
        for item in SseParser().feed(rest.frames(SSE, None)):
            history.take(item)
        assert history.units == 13


def test_who_is_at_the_end_lacks_nothing() -> None:
    assert batch_of(*EVENTS).after(13) is None


def test_who_lacks_all_of_it_shares_the_batch_itself() -> None:
    batch = batch_of(*EVENTS, start=5)
    assert batch.after(5) is batch
    assert batch.after(2) is batch


def test_its_size_counts_the_objects_not_only_the_text() -> None:
    assert batch_of(delta("text", "a")).size_bytes > 500
    assert batch_of(delta("text", "a" * 10_000)).size_bytes > 20_000
