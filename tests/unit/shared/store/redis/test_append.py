"""Appends as Redis reads them, against hiredis' own packing."""

import hiredis
from hypothesis import given
from hypothesis import strategies as st

from shared.log.events import Event, delta, tool_call
from shared.log.keys import Keyspace
from shared.store.calls import Append, Retention
from shared.store.redis.append import (
    AppendCommands,
    append_words,
    delta_words,
    packed_append,
    packed_deltas,
    replies_of,
)
from shared.store.redis.library import Library

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


DELTAS = st.builds(
    lambda stream_id, tail, text: Append(
        stream_id, "0a1b2c3d", tail, (delta("text", text),), tail + len(text.encode())
    ),
    st.text("0123456789abcdef", min_size=32, max_size=32),
    st.integers(0, 2**53),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
)
LONG = delta("text", "x" * 3_000)
NO_DELTAS = [
    Append("0" * 32, "0a1b2c3d", 4, (), 4),
    Append("1" * 32, "0a1b2c3d", 4, (delta("text", "unsafe"),), 4),
    Append("2" * 32, "0a1b2c3d", 4, (delta("text", "noted"),), 9, {"provider": "one"}),
    Append("3" * 32, "0a1b2c3d", 4, (delta("reasoning", "two"), delta("text", "kinds")), 12),
    Append("4" * 32, "0a1b2c3d", 4, (Event("done", b"{}", 1),), 5),
    Append("5" * 32, "0a1b2c3d", 4, (LONG,), 4 + LONG.size),
    Append("6" * 32, "0a1b2c3d", 4, (Event("text", b"wrong", 1),), 5),
]
RETENTION = Retention(live_ms=1, retain_ms=2, tombstone_ms=3)


@given(st.lists(DELTAS, min_size=2, max_size=8))
def test_packed_deltas_are_what_hiredis_makes_of_their_words(appends: list[Append]) -> None:
    words = delta_words("tailrace_append_deltas", Keyspace(), appends)
    assert packed_deltas("tailrace_append_deltas", Keyspace(), appends) == hiredis.pack_command(words)


@given(st.lists(DELTAS | st.sampled_from(NO_DELTAS), max_size=300), st.booleans())
def test_appends_stay_in_order_and_only_plain_deltas_share_a_call(appends: list[Append], is_cluster: bool) -> None:
    commands = AppendCommands(Library.read(), Keyspace(), is_cluster=is_cluster)
    calls = commands.calls(appends)
    assert [append for call in calls for append in call] == appends
    for call in calls:
        packed = commands.packed(call, RETENTION)
        assert packed.count(b"_append_deltas\r\n") == (len(call) > 1)
        assert len(call) == 1 or not is_cluster
        assert len(call) == 1 or not any(append in NO_DELTAS for append in call)


def test_a_refused_call_refuses_all_of_its_appends() -> None:
    one, two, three = [Append(f"{number}" * 32, "0a1b2c3d", 0, (delta("text", "x"),), 1) for number in range(3)]
    refusal = RuntimeError("no")
    assert replies_of([[one, two], [three]], [refusal, b"OK"]) == [refusal, refusal, b"OK"]
    assert replies_of([[one, two], [three]], [[1, b"OK"], refusal]) == [1, b"OK", refusal]
