"""The writing end of an attempt, against a log that behaves well, late, or not at all."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.worker.writing.writer import Lost, Writer, safe_after
from shared.errors import StoreMisused, StoreUnavailable
from shared.log.events import MAX_EVENT_BYTES, Event, annotation, delta, done, reasoning_end, tool_call, usage
from shared.store.calls import Append
from shared.store.replies import Appended, Closed, Fenced, Gone, TailMismatch

__all__ = ()


def new_writer(*, tail: int = 0, max_bytes: int = 1000) -> Writer:
    return Writer("0" * 32, attempt=1, nonce="a" * 8, tail=tail, max_bytes=max_bytes, notify=lambda writer: None)


def next_append(writer: Writer) -> Append:
    append = writer.next_append()
    assert append is not None
    return append


def text(value: str) -> Event:
    return delta("text", value)


def acknowledge(writer: Writer) -> Sequence[Event]:
    """Answer one append as a healthy store would."""
    append = next_append(writer)
    writer.settle(Appended(append.tail + sum(event.size for event in append.events), cancelling=False, bytes=0))
    return append.events


def test_without_work_there_is_no_append() -> None:
    writer = new_writer()
    assert writer.next_append() is None
    writer.add([text("a")])
    acknowledge(writer)
    assert writer.next_append() is None


def test_who_has_failed_sends_nothing_more() -> None:
    """Whoever fenced itself must not end a stream that goes on elsewhere, though its lease may still be its own."""
    writer = new_writer()
    writer.fail(Lost(Fenced(1)))
    writer.add([Event("cancelled", b"{}", 1)])
    assert not writer.has_work
    assert writer.next_append() is None


def test_adjacent_deltas_share_an_event() -> None:
    writer = new_writer()
    writer.add([text("a"), text("b"), delta("reasoning", "c"), text("d")])

    events = acknowledge(writer)

    assert [(event.kind, event.value) for event in events] == [("text", b"ab"), ("reasoning", b"c"), ("text", b"d")]
    assert writer.tail == 4


def test_a_merged_event_stays_within_its_bound() -> None:
    writer = new_writer()
    writer.add([text("x" * (MAX_EVENT_BYTES - 1)), text("yy"), text("z")])

    assert [event.size for event in next_append(writer).events] == [MAX_EVENT_BYTES - 1, 3]


def test_what_arrives_meanwhile_waits_for_the_next_append() -> None:
    writer = new_writer()
    writer.add([text("a")])
    first = next_append(writer)
    writer.add([text("b")])

    assert next_append(writer) == first  # asked again, as after a lost reply: the same call


def test_a_lost_reply_is_resolved_by_the_tail() -> None:
    writer = new_writer()
    writer.add([text("abc")])
    next_append(writer)
    writer.settle(StoreUnavailable("no answer"))
    assert writer.has_work

    next_append(writer)
    writer.settle(TailMismatch(3))

    assert writer.tail == 3
    assert not writer.has_work


def test_a_lost_tail_is_written_again_with_the_same_events() -> None:
    writer = new_writer()
    for piece in ("abc", "de", "f"):
        writer.add([text(piece)])
        acknowledge(writer)
    writer.add([text("gh")])
    next_append(writer)

    writer.settle(TailMismatch(3))

    append = next_append(writer)
    assert append.tail == 3
    assert [event.value for event in append.events] == [b"de", b"f", b"gh"]


def test_a_tail_that_is_not_ours_cannot_be_repaired() -> None:
    writer = new_writer()
    writer.add([text("abc")])
    acknowledge(writer)
    writer.add([text("d")])
    next_append(writer)

    writer.settle(TailMismatch(2))  # inside an event of ours

    assert writer.is_stopped


@pytest.mark.parametrize("reply", [Fenced(2), Closed("done", 9), Gone()])
async def test_a_lost_stream_fails_whoever_waits(reply: Fenced | Closed | Gone) -> None:
    writer = new_writer()
    writer.add([text("abc")])
    next_append(writer)
    writer.settle(reply)

    with pytest.raises(Lost) as lost:
        await writer.flushed()

    assert lost.value.reply == reply


async def test_our_own_ending_whose_reply_was_lost_is_an_ending() -> None:
    writer = new_writer()
    writer.add([text("abc"), done("stop")])
    next_append(writer)
    writer.settle(StoreUnavailable("no answer"))
    next_append(writer)
    writer.settle(Closed("done", 4))

    await writer.flushed()

    assert writer.tail == 4


async def test_a_refusal_for_good_ends_the_writer() -> None:
    writer = new_writer()
    writer.add([text("abc")])
    next_append(writer)
    writer.settle(StoreMisused("NOPERM"))

    with pytest.raises(StoreMisused):
        await writer.flushed()


def test_meta_goes_along_with_the_append_that_carries_it() -> None:
    writer = new_writer()
    writer.note({"provider": "local"})
    writer.add([text("a")])
    assert next_append(writer).updates == {"provider": "local"}
    writer.settle(StoreUnavailable("no answer"))
    writer.note({"finish_reason": "stop"})
    assert next_append(writer).updates == {"provider": "local"}
    writer.settle(Appended(1, cancelling=False, bytes=0))
    writer.add([done("stop")])

    assert next_append(writer).updates == {"finish_reason": "stop"}


@pytest.mark.parametrize(
    ("events", "safe"),
    [
        ([text("abc")], 3),
        ([text("abc"), tool_call(0, "", call_id="c", name="f")], 3),
        ([text("abc"), tool_call(0, "{", call_id="c", name="f"), tool_call(0, "}")], 3),
        ([tool_call(0, "{}", call_id="c", name="f"), tool_call(1, "{", call_id="d", name="g")], 3),
        ([tool_call(0, "{}", call_id="c", name="f"), usage({"output_tokens": 1})], 4),
        ([text("abc"), reasoning_end({"signature": "s"}), annotation({})], 5),
        ([text("abc"), tool_call(0, "{", call_id="c", name="f"), annotation({}), tool_call(0, "}")], 3),
    ],
)
def test_nothing_is_safe_inside_a_tool_call(events: list[Event], safe: int) -> None:
    assert safe_after(events, 0, 0) == safe


def test_an_append_of_which_a_failover_kept_the_beginning_goes_on_from_there() -> None:
    writer = new_writer()
    writer.add([text("abc"), delta("reasoning", "de"), text("f")])
    next_append(writer)
    writer.settle(StoreUnavailable("no answer"))
    next_append(writer)

    writer.settle(TailMismatch(5))

    append = next_append(writer)
    assert (append.tail, append.safe, [event.value for event in append.events]) == (5, 6, [b"f"])
    writer.settle(TailMismatch(0))
    append = next_append(writer)
    assert (append.tail, [event.value for event in append.events]) == (0, [b"abc", b"de", b"f"])


@given(st.lists(st.sampled_from(["ä", "bc", "€uro", "d"]), min_size=1), st.data())
def test_whatever_the_store_loses_or_answers_the_log_ends_up_as_produced(
    pieces: list[str], data: st.DataObject
) -> None:
    """A log that loses replies and tails at random holds every byte once, in order, when the writer is done.

    Faults are the highest draws: Hypothesis likes zeros, and as zeros they made examples of hundreds of appends.
    """
    writer = new_writer()
    log: list[Event] = []

    def tail() -> int:
        return sum(event.size for event in log)

    for piece in pieces:
        writer.add([text(piece)])
        if data.draw(st.booleans()):
            continue
        for _ in range(100):
            if not writer.has_work:
                break
            append = next_append(writer)
            if data.draw(st.integers(0, 9)) == 9:
                del log[data.draw(st.integers(0, len(log))) :]  # a failover lost the end
            if append.tail != tail():
                writer.settle(TailMismatch(tail()))
                continue
            log += append.events
            is_lost = data.draw(st.integers(0, 4)) == 4
            writer.settle(StoreUnavailable("") if is_lost else Appended(tail(), cancelling=False, bytes=0))
    while writer.has_work:
        append = next_append(writer)
        if append.tail == tail():
            log += append.events
            writer.settle(Appended(tail(), cancelling=False, bytes=0))
        else:
            writer.settle(TailMismatch(tail()))

    assert b"".join(event.value for event in log).decode() == "".join(pieces)


def test_what_is_added_after_a_failure_is_not_sent() -> None:
    """Its text would follow a hole: what was in flight when the writer failed is given up."""
    writer = new_writer()
    writer.add([text("abc")])
    next_append(writer)
    writer.settle(StoreMisused("NOPERM"))
    writer.add([text("d")])

    assert writer.next_append() is None
