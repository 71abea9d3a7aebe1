"""A page of deltas is its entries: whoever takes the short way must not be able to tell."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.delivery.batch import Batch
from services.edge.wires.ndjson import NDJSON
from services.edge.wires.sse import SSE
from services.edge.wires.wire import Wire
from shared.log.page import DeltaPage
from shared.log.position import Position
from shared.store.redis.replies import log_entries

__all__ = ()

NONCE = "0bbe4c11"
Raw = list[tuple[bytes, list[bytes]]]

deltas = st.lists(
    st.tuples(st.sampled_from([b"text", b"reasoning", b"refusal"]), st.text(min_size=1, max_size=9)), min_size=1
)


def reply(parts: list[tuple[bytes, str]], *, start: int = 0, attempt: int = 1) -> Raw:
    """The entries of one stream as XREAD answers them."""
    raw, offset = [], start
    for kind, text in parts:
        offset += len(text.encode())
        raw.append((b"%d-%d" % (attempt, offset), [kind, text.encode()]))
    return raw


def page_of(raw: Any) -> DeltaPage:
    page = DeltaPage.of(raw)
    assert page is not None
    return page


@given(deltas)
def test_it_is_the_list_of_its_entries(parts: list[tuple[bytes, str]]) -> None:
    raw = reply(parts)
    page, entries = page_of(raw), log_entries(raw)
    assert page == entries
    assert entries == page
    assert list(page) == entries
    assert (len(page), page[0], page[-1], page[1:]) == (len(entries), entries[0], entries[-1], entries[1:])
    assert page != entries[1:]


@pytest.mark.parametrize("wire", [SSE, NDJSON], ids=["sse", "ndjson"])
@given(parts=deltas, start=st.integers(0, 10**9))
def test_its_frames_are_those_of_its_entries(wire: Wire, parts: list[tuple[bytes, str]], start: int) -> None:
    raw = reply(parts, start=start, attempt=3)
    page = page_of(raw)
    end = page.end_after(Position(3, start))
    assert end is not None
    short, plain = Batch.of_page(page, start, end, {3: NONCE}), Batch(log_entries(raw), {3: NONCE})
    assert short.news(wire, None) == plain.news(wire, None)
    assert short.frames(wire, None) == plain.frames(wire, None)
    assert (short.start, short.end, short.position, short.events) == (
        plain.start,
        plain.end,
        plain.position,
        plain.events,
    )
    assert (short.cursor, short.is_last, repr(short)) == (plain.cursor, plain.is_last, repr(plain))


@given(deltas, st.integers(0, 10**9))
def test_it_continues_the_place_where_it_starts_and_no_other(parts: list[tuple[bytes, str]], start: int) -> None:
    page = page_of(reply(parts, start=start))
    assert page.end_after(Position(1, start)) == page[-1].position
    assert page.end_after(Position(2, start)) is None
    assert page.end_after(Position(1, start + 1)) is None


def test_a_hole_inside_continues_nothing() -> None:
    raw = reply([(b"text", "ab")]) + reply([(b"text", "cd")], start=3)
    assert page_of(raw).end_after(Position(1, 0)) is None


@pytest.mark.parametrize("kind", [b"fence", b"done", b"tool_call", b"usage", b"nobody's"])
def test_what_is_no_delta_makes_no_page(kind: bytes) -> None:
    other = [(b"1-9", [kind, b"{}"])]
    assert DeltaPage.of(other) is None
    assert DeltaPage.of(reply([(b"text", "a")]) + other) is None
    assert DeltaPage.of([]) is None


def test_it_is_named_by_its_ends() -> None:
    assert repr(page_of(reply([(b"text", "ab"), (b"text", "c")]))) == "<DeltaPage 1-2..1-3 events=2>"
