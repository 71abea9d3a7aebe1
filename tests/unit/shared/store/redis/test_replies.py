"""From the bytes of Redis to our types, where no server is needed to see it."""

import pytest

from shared.log import events
from shared.log.events import LogEntry
from shared.log.lineage import Fence, Lineage
from shared.log.position import Position
from shared.log.slicing import after
from shared.store.calls import Append
from shared.store.meta_hash import meta_reply
from shared.store.redis.replies import append_reply, block_entries, claim_reply, log_entries

__all__ = ()

LINEAGE = Lineage([Fence(1, "a" * 8, 0), Fence(2, "b" * 8, 9)], tail=30)
CALL = b'{"index":0,"arguments_delta":"{}"}'
BLOCK_FIELDS = [b"start", b"4", b"reasoning", b"hm", b"text", b"one two", b"tool_call", CALL, b"usage", b"{}"]
BLOCK = (b"2-17", [*BLOCK_FIELDS, b"text", b"!"])


def test_a_block_is_its_merged_events() -> None:
    entries = block_entries([BLOCK], LINEAGE)
    assert [(str(entry.position), entry.event.kind, entry.start) for entry in entries] == [
        ("1-6", "reasoning", 4),
        ("2-13", "text", 6),
        ("2-15", "tool_call", 13),
        ("2-16", "usage", 15),
        ("2-17", "text", 16),
    ]


@pytest.mark.parametrize("offset", range(4, 18))
def test_a_block_has_an_exact_rest_for_every_old_cursor(offset: int) -> None:
    whole = b"hmone two"
    rest = [part for entry in block_entries([BLOCK], LINEAGE) if (part := after(entry, offset))]
    text = b"".join(part.event.value for part in rest if part.event.kind in {"reasoning", "text"})
    assert text == whole[max(0, offset - 4) :] + (b"!" if offset < 17 else b"")
    assert not rest or rest[0].start == offset


def test_an_entry_is_one_field() -> None:
    assert log_entries([(b"1-4", [b"text", b"four"])]) == [LogEntry(Position(1, 4), events.delta("text", "four"))]


def test_half_a_meta_is_none() -> None:
    assert meta_reply("f" * 32, {}) is None
    assert meta_reply("f" * 32, {b"cancel": b"1"}) is None


def test_an_answer_that_is_not_ours_is_refused() -> None:
    append = Append("f" * 32, "0a1b2c3d", 0, (), 0)
    with pytest.raises(ValueError, match="not an answer of ours"):
        append_reply(append, [b"MAYBE"])
    with pytest.raises(ValueError, match="not an answer of ours"):
        claim_reply([b"MAYBE"])
