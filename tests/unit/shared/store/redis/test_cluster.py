"""Addresses, slots and redirections of a cluster, without one."""

from typing import Any, cast

import hiredis
import pytest
from redis.exceptions import ResponseError

from shared.errors import InvalidConfiguration
from shared.log.keys import Keyspace
from shared.settings.settings import Settings
from shared.store.redis.address import ClusterUrl
from shared.store.redis.client import open_client
from shared.store.redis.cluster.client import merged
from shared.store.redis.cluster.slots import Redirect, SlotMap, slot_of

__all__ = ()

ASKED = ("10.0.0.1", 6379)
BUCKET = Keyspace().leases("3f")


def test_the_parts_of_an_address() -> None:
    assert ClusterUrl.parse("redis+cluster://h1:1,h2:2") == ClusterUrl((("h1", 1), ("h2", 2)))
    assert ClusterUrl.parse("redis+cluster://h1/0") == ClusterUrl((("h1", 6379),))
    assert ClusterUrl.parse("redis+cluster://me:p%40ss@h1,h2:7") == ClusterUrl((("h1", 6379), ("h2", 7)), "me", "p@ss")
    assert ClusterUrl.parse("redis+cluster://:pass@h1").username is None


def test_an_address_shows_no_password() -> None:
    assert "secret" not in repr(ClusterUrl.parse("redis+cluster://me:secret@h1"))
    assert "secret" not in repr(open_client("redis+cluster://me:secret@h1"))


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://",
        "redis+cluster:///0",
        "redis+cluster://h1/1",
        "redis+cluster://h1:x",
        "redis+cluster://h1,,h2",
    ],
)
def test_what_is_no_address_of_a_cluster(url: str) -> None:
    with pytest.raises(InvalidConfiguration):
        open_client(url)


def test_a_queue_needs_another_redis_than_a_cluster() -> None:
    cluster, single = "redis+cluster://h1", "redis://h2"
    for streams, queue in ((cluster, None), (cluster, cluster), (single, cluster)):
        with pytest.raises(ValueError, match="queue_url must name a single Redis"):
            Settings(redis_url=streams, queue_url=queue)
    assert not Settings(redis_url=cluster, queue_url=single).streams_and_queue_share_redis


@pytest.mark.parametrize(
    "command",
    [
        ("FCALL", "append", 2, BUCKET, "other", "x"),
        ("FCALL_RO", "read", "1", BUCKET),
        ("XREAD", "COUNT", 1, "BLOCK", 5, "STREAMS", BUCKET, "0-0"),
        ("MEMORY USAGE", BUCKET, "SAMPLES", 0),
        ("EXISTS", BUCKET.encode()),
        ("hgetall", "{3f}"),
        cast("Any", hiredis).pack_command(("FCALL", "append", 2, BUCKET, "other", "x")),
    ],
)
def test_the_slot_of_a_command_is_that_of_its_first_key(command: tuple[Any, ...] | bytes) -> None:
    assert slot_of(command) == slot_of(("GET", "3f"))


@pytest.mark.parametrize("command", [("PING",), ("TIME",), ("FCALL", "f", 0, "x"), ("PUBLISH", "channel", "x")])
def test_what_has_no_key_has_no_slot(command: tuple[Any, ...]) -> None:
    assert slot_of(command) is None


def test_a_map_of_slots() -> None:
    nodes = [[b"", 1, b"id"], [b"10.0.0.2", 2, b"id"], [b"10.0.0.3", 3, b"id"]]
    found = SlotMap.parse([[0, 9, nodes[0]], [10, 10, nodes[1], nodes[2]]], asked=ASKED)
    assert found.owners[:12] == (("10.0.0.1", 1),) * 10 + (("10.0.0.2", 2), None)
    assert found.masters == (("10.0.0.1", 1), ("10.0.0.2", 2))
    assert found.replicas == {("10.0.0.3", 3)}
    moved = found.moved(9, ("10.0.0.2", 2))
    assert moved.owners[8:11] == (("10.0.0.1", 1), ("10.0.0.2", 2), ("10.0.0.2", 2))
    assert moved.moved(9, ("10.0.0.2", 2)) is moved


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MOVED 7 10.0.0.2:6380", Redirect("MOVED", 7, ("10.0.0.2", 6380))),
        ("MOVED 7 fd00::1:6380", Redirect("MOVED", 7, ("fd00::1", 6380))),
        ("MOVED 7 :6380", Redirect("MOVED", 7, ("10.0.0.1", 6380))),
        ("ASK 7 10.0.0.2:6380", Redirect("ASK", 7, ("10.0.0.2", 6380))),
        ("TRYAGAIN Multiple keys request during rehashing of slot", Redirect("TRYAGAIN")),
        ("CLUSTERDOWN The cluster is down", Redirect("CLUSTERDOWN")),
        ("READONLY You can't write against a read only replica.", None),
        ("MOVED", None),
        ("", None),
    ],
)
def test_what_a_refusal_asks_for(text: str, expected: Redirect | None) -> None:
    assert Redirect.of(ResponseError(text), asked=ASKED) == expected


def test_an_answer_is_no_redirection() -> None:
    assert Redirect.of(b"MOVED 7 10.0.0.2:6380", asked=ASKED) is None
    assert Redirect.of(ConnectionResetError("MOVED 7 10.0.0.2:6380"), asked=ASKED) is None


def test_only_asking_is_for_one_command() -> None:
    asked, moved = (Redirect(word, 7, ("10.0.0.2", 6380)) for word in ("ASK", "MOVED"))
    assert (asked.ask, moved.ask) == (("10.0.0.2", 6380), None)
    assert (asked.moved, moved.moved) == (False, True)


@pytest.mark.parametrize(
    ("used_and_limits", "expected"),
    [
        ([(10, 0), (20, 0)], (30, 0)),
        ([(10, 100), (10, 100)], (20, 200)),
        ([(90, 100), (10, 100)], (100, 120)),
        ([(10, 100), (500, 0)], (510, 690)),
        ([(200, 100), (0, 100)], (200, 1)),
    ],
)
def test_what_is_free_is_what_the_fullest_master_has_left(
    used_and_limits: list[tuple[int, int]], expected: tuple[int, int]
) -> None:
    infos = [{"used_memory": u, "maxmemory": m, "maxmemory_policy": "noeviction"} for u, m in used_and_limits]
    found = merged(infos)
    assert (found["used_memory"], found["maxmemory"]) == expected
