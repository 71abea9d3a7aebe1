"""Keys and stream ids."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.log.keys import ID_CHARS, Keyspace, bucket_of, derived_id, is_stream_id, new_id, thread_name

__all__ = ()

SAMPLE = "3f" + "0" * 30
SECRET = b"s" * 32


@given(st.integers(1, 256))
def test_a_new_id_names_its_bucket(buckets: int) -> None:
    stream_id = new_id(buckets=buckets)
    assert is_stream_id(stream_id)
    assert len(stream_id) == ID_CHARS
    assert int(bucket_of(stream_id), 16) < buckets


def test_new_ids_differ() -> None:
    assert len({new_id(buckets=1) for _ in range(1000)}) == 1000


def test_new_ids_use_every_bucket() -> None:
    assert len({bucket_of(new_id(buckets=4)) for _ in range(200)}) == 4


@given(st.text(max_size=8), st.text(max_size=8), st.text(max_size=8), st.text(max_size=8))
def test_derived_ids_are_equal_only_for_equal_inputs(tenant: str, key: str, tenant2: str, key2: str) -> None:
    one, other = (derived_id(SECRET, *pair, buckets=16) for pair in ((tenant, key), (tenant2, key2)))
    assert is_stream_id(one)
    assert int(bucket_of(one), 16) < 16
    assert (one == other) == ((tenant, key) == (tenant2, key2))


def test_a_derived_id_is_an_hmac() -> None:
    """Written out, because every process of a deployment has to come to the same id, the next version's too."""
    digest = hmac.new(SECRET, b"4:acme:order-7", hashlib.sha256).digest()
    expected = f"{digest[0] % 16:02x}{digest[1:16].hex()}"
    assert derived_id(SECRET, "acme", "order-7", buckets=16) == expected
    assert derived_id(b"t" * 32, "acme", "order-7", buckets=16) != expected


def test_the_name_of_a_thread_is_a_digest() -> None:
    """Written out, because every edge of a deployment has to come to the same name."""
    digest = hashlib.sha256(b"4:acme:6:ai-sdk:chat-7").digest()
    name = thread_name("acme", "ai-sdk", "chat-7", buckets=16)
    assert name == f"{digest[0] % 16:02x}{digest[1:16].hex()}"
    others = [("acm", "e6:ai-sdk", "chat-7"), ("acme", "ag-ui", "chat-7"), ("acme", "ai-sdk", "chat-8")]
    assert name not in {thread_name(*other, buckets=16) for other in others}
    assert is_stream_id(thread_name("acme", "ai-sdk", "\ud800", buckets=16))


@pytest.mark.parametrize("text", ["", "3f", "0" * 31, "0" * 33, "G" * 32, "A" * 32, "0" * 31 + "\n", "\u0660" * 32])
def test_what_is_no_stream_id(text: str) -> None:
    assert not is_stream_id(text)


def test_the_names_of_the_keys() -> None:
    keys = Keyspace()
    assert keys.stream(SAMPLE) == f"tailrace:{{3f}}:stream:{SAMPLE}"
    assert keys.blocks(SAMPLE) == f"tailrace:{{3f}}:blocks:{SAMPLE}"
    assert keys.meta(SAMPLE) == f"tailrace:{{3f}}:meta:{SAMPLE}"
    assert keys.current(SAMPLE) == f"tailrace:{{3f}}:current:{SAMPLE}"
    assert keys.request(SAMPLE) == f"tailrace:{{3f}}:request:{SAMPLE}"
    assert keys.tombstone(SAMPLE) == f"tailrace:{{3f}}:tombstone:{SAMPLE}"
    assert keys.leases("3f") == "tailrace:{3f}:leases"
    assert keys.recent("3f") == "tailrace:{3f}:recent"
    assert keys.created("3f") == "tailrace:{3f}:created"
    assert keys.usage("3f") == "tailrace:{3f}:usage"
    assert keys.secret == "tailrace:secret"
    assert keys.cancels == "tailrace:cancels"
    assert repr(Keyspace("other")) == "<Keyspace other>"


def test_all_keys_of_a_stream_share_a_slot_of_the_cluster() -> None:
    tags = {key.partition("{")[2].partition("}")[0] for key in Keyspace("other").of_stream(SAMPLE)}
    assert tags == {"3f"}
