"""Appends as Redis reads them, against hiredis' own packing."""

import hiredis
from hypothesis import given
from hypothesis import strategies as st

from shared.events import Event, delta, tool_call
from shared.keys import Keyspace
from shared.redis_append import append_words, packed_append
from shared.store import Append, Retention

__all__ = ()

EVENTS = st.sampled_from([tool_call(0, "{}", call_id="c", name="f"), Event("done", b"{}", 1)]) | st.text(
    st.characters(exclude_categories=["Cs"]), min_size=1
).map(lambda text: delta("text", text))


@given(
    st.lists(EVENTS, max_size=3),
    st.integers(0, 2**53),
    st.integers(0, 2**53),
    st.dictionaries(st.sampled_from(["provider", "usage"]), st.integers() | st.binary() | st.just("ä"), max_size=2),
    st.text("0123456789abcdef", min_size=32, max_size=32),
    st.integers(0, 10**12),
)
def test_a_packed_append_is_what_hiredis_makes_of_its_words(
    events: list[Event], tail: int, safe: int, updates: dict[str, str | int | bytes], stream_id: str, retain_ms: int
) -> None:
    append = Append(stream_id, "0a1b2c3d", tail, events, safe, updates)
    retention = Retention(live_ms=1, retain_ms=retain_ms, tombstone_ms=2 * retain_ms)
    words = append_words("tailrace_append", Keyspace(), append, retention)

    assert packed_append("tailrace_append", Keyspace(), append, retention) == hiredis.pack_command(words)
