"""Each right of Redis taken away in turn: a function does all that it has to do, or nothing, and says what it lacks."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final, cast

import pytest

from shared.errors import StoreDenied, StoreError
from shared.log import events
from shared.log.position import START, Position
from shared.store.calls import Append, Compact, LeaseRenewal
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from shared.store.replies import Appended, Claimed, Compacted, TailMismatch
from tests.conftest import own_keyspace, remove_keys
from tests.support.redis_server import ServerKind
from tests.support.streams import RETENTION, append, begin, claim, create, end, log, nonce, texts, write

__all__ = ()

# What a process needs beside FCALL and the handshake; docs/deploy.md has the whole line.
FUNCTION_RIGHTS: Final = """
    del exists get hdel hget hgetall hincrby hkeys hmget hset hsetnx hstrlen pexpire pexpireat pexpiretime pttl publish
    set strlen time xadd xdel xrange xrevrange xtrim zadd zcard zrange zrem
""".split()  # noqa: SIM905
OTHER_RIGHTS: Final = """
    fcall hello ping info client|setname client|id client|unblock multi exec xread zrevrange zrangebyscore
    zrevrangebyscore lpush ltrim function|load function|list subscribe unsubscribe blpop watch unwatch zscore incrby
    expire psetex dbsize memory|usage
""".split()  # noqa: SIM905
FOLD: Final = 1_000_000

Call = Callable[[RedisStore, str], Awaitable[Any]]


async def command(store: RedisStore, *words: str | int) -> Any:
    return await cast("Any", store.client).execute_command(*words)


class Wards:
    """An operator, who owns everything, and a user whose rights change; both under a prefix that nobody else uses."""

    def __init__(self, stack: AsyncExitStack, url: str) -> None:
        keys = own_keyspace()
        self.name = keys.prefix
        self.operator = RedisStore(open_client(url), keys)
        self.user = RedisStore(open_client(url.replace("//", f"//{self.name}:pass@")), keys)
        stack.push_async_callback(self.aclose)

    async def aclose(self) -> None:
        await command(self.operator, "ACL", "DELUSER", self.name)
        await self.user.aclose()
        await self.operator.aclose()

    async def grant(self, *, without: str = "", keys: str = "~*") -> None:
        rights = [f"+{name}" for name in (*FUNCTION_RIGHTS, *OTHER_RIGHTS) if name != without]
        await command(self.operator, "ACL", "SETUSER", self.name, "reset", "on", ">pass", keys, "&*", *rights)

    async def dump(self) -> Mapping[bytes, object]:
        """All that stands under the prefix, byte for byte, and whether it expires."""
        client = self.operator.client
        names = sorted([key async for key in client.scan_iter(match=f"{self.operator.keys.prefix}:*")])
        return {name: (await client.dump(name), await client.pttl(name) >= 0) for name in names}


NewWards = Callable[[], Awaitable[Wards]]


@pytest.fixture
async def new_wards(redis_kind: ServerKind, server_url: Callable[[ServerKind], str]) -> AsyncIterator[NewWards]:
    url = server_url(redis_kind)
    async with AsyncExitStack() as stack:

        async def new() -> Wards:
            wards = Wards(stack, url)
            stack.push_async_callback(remove_keys, url, wards.operator.keys)
            await wards.operator.load()
            return wards

        yield new


@pytest.fixture
async def wards(new_wards: NewWards) -> Wards:
    return await new_wards()


async def folded(store: RedisStore, stream_id: str, *, by: str) -> Any:
    (reply,) = await store.compact([Compact(stream_id, by, FOLD, 100 * FOLD)])
    return raised(reply)


def raised(reply: Any) -> Any:
    if isinstance(reply, Exception):
        raise reply
    return reply


async def beaten(store: RedisStore, stream_id: str) -> Any:
    (reply,) = await store.heartbeat([LeaseRenewal(stream_id, nonce(1), 60_000)], RETENTION)
    return raised(reply)


async def evicted(store: RedisStore, stream_id: str) -> Any:
    (reply,) = await store.evict([stream_id], why="evicted", tombstone_ms=60_000)
    return raised(reply)


async def said(store: RedisStore, stream_id: str) -> Any:
    """Two deltas at once, which are one call of `append_deltas`."""
    calls = [Append(stream_id, nonce(1), 5, texts("more "), 10)]
    other = Append("0" * 32, nonce(1), 0, texts("x"), 1)
    return raised((await store.append([*calls, other], RETENTION))[0])


async def a_queued(store: RedisStore) -> str:
    return await create(store)


async def a_live(store: RedisStore) -> str:
    stream_id = await begin(store)
    assert await write(store, stream_id, "said ") == 5
    return stream_id


async def an_abandoned(store: RedisStore) -> str:
    stream_id = await begin(store, lease_ms=-1000)
    assert await write(store, stream_id, "said ") == 5
    return stream_id


async def a_folded(store: RedisStore) -> str:
    stream_id = await a_live(store)
    await write(store, stream_id, "more ", tail=5)
    await folded(store, stream_id, by=nonce(1))
    assert await write(store, stream_id, "and ", "more", tail=10) == 18
    return stream_id


async def a_finished(store: RedisStore) -> str:
    stream_id = await a_folded(store)
    await end(store, stream_id, tail=18)
    return stream_id


async def a_torn(store: RedisStore) -> str:
    """A stream that lost its log: who meets it takes the rest away."""
    stream_id = await an_abandoned(store)
    await store.client.delete(store.keys.stream(stream_id))
    return stream_id


CALLS: Final[Mapping[str, tuple[Callable[[RedisStore], Awaitable[str]], Call]]] = {
    "create": (a_queued, lambda store, _: create(store)),
    "claim": (a_queued, claim),
    "claim again": (an_abandoned, lambda store, name: claim(store, name, 2)),
    "claim folded": (a_folded, lambda store, name: claim(store, name, 2, holder=nonce(1))),
    "claim and keep": (a_folded, lambda store, name: claim(store, name, 2, holder=nonce(1), mode="continue")),
    "claim torn": (a_torn, lambda store, name: claim(store, name, 2)),
    "first append": (begin, lambda store, name: append(store, name, texts("first"))),
    "append": (a_live, lambda store, name: append(store, name, texts("more "), tail=5)),
    "append deltas": (a_live, said),
    "end": (a_live, lambda store, name: append(store, name, [events.done("stop")], tail=5)),
    "heartbeat": (a_live, beaten),
    "heartbeat torn": (a_torn, beaten),
    "release": (a_live, lambda store, name: store.release(name, nonce(1))),
    "cancel": (a_live, lambda store, name: store.cancel(name, attempt=None, nonce=nonce(9), retention=RETENTION)),
    "cancel queued": (
        a_queued,
        lambda store, name: store.cancel(name, attempt=None, nonce=nonce(9), retention=RETENTION),
    ),
    "finish": (
        an_abandoned,
        lambda store, name: store.finish(name, events.CANCELLED, nonce=nonce(9), retention=RETENTION),
    ),
    "delete": (a_finished, lambda store, name: store.delete(name, RETENTION)),
    "evict": (a_finished, evicted),
    "compact live": (a_folded, lambda store, name: folded(store, name, by=nonce(1))),
    "compact finished": (a_finished, lambda store, name: folded(store, name, by="")),
    "recount": (a_finished, lambda store, name: store.recount(name[:2], limit=100)),
    "touch": (a_finished, lambda store, name: store.touch(name)),
    "read": (a_finished, lambda store, name: store.read(name, START, limit=100)),
}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", CALLS)
async def test_a_call_without_a_right_does_all_or_nothing(new_wards: NewWards, name: str) -> None:
    """An append alone proves no rights: what it leaves is the event itself, and finds it there when it comes again."""
    begun, call = CALLS[name]
    denied = []
    for right in FUNCTION_RIGHTS:
        wards = await new_wards()
        stream_id = await begun(wards.operator)
        await wards.grant(without=right)
        before = await wards.dump()
        try:
            await call(wards.user, stream_id)
        except StoreDenied:
            denied.append(right)
            if name != "append":
                assert await wards.dump() == before, f"{name} without {right}"
        await wards.grant()
        again = await call(wards.user, stream_id)
        assert not isinstance(again, TailMismatch) or right not in denied
        if name != "delete" and "torn" not in name and name != "evict":
            await log(wards.operator, stream_id)
    assert denied


@pytest.mark.parametrize("keys", ["%R~*", "~nothing:*"])
@pytest.mark.parametrize("name", [name for name in CALLS if name not in {"read"}])
async def test_a_call_without_rights_to_keys_does_nothing(wards: Wards, name: str, keys: str) -> None:
    begun, call = CALLS[name]
    stream_id = await begun(wards.operator)
    await wards.grant(keys=keys)
    before = await wards.dump()
    with pytest.raises(StoreDenied):
        await call(wards.user, stream_id)
    assert await wards.dump() == before


async def test_an_append_that_was_refused_half_way_is_whole_when_it_comes_again(wards: Wards) -> None:
    stream_id = await a_live(wards.operator)
    await wards.grant(without="hset")
    for _ in range(2):
        with pytest.raises(StoreDenied):
            await append(wards.user, stream_id, texts("more ", "and more"), tail=5)
    await wards.grant()
    reply = await append(wards.user, stream_id, texts("more ", "and more"), tail=5)
    assert isinstance(reply, Appended)
    assert [entry.event.value for entry in await log(wards.operator, stream_id)][1:] == [
        b"said ",
        b"more ",
        b"and more",
    ]


async def test_what_a_refused_append_left_is_gone_after_a_claim(wards: Wards) -> None:
    stream_id = await a_live(wards.operator)
    await wards.grant(without="hset")
    with pytest.raises(StoreDenied):
        await append(wards.user, stream_id, texts("half"), tail=5)
    assert isinstance(await claim(wards.operator, stream_id, 2, holder=nonce(1), mode="continue"), Claimed)
    assert [entry.event.value for entry in await log(wards.operator, stream_id)][1:2] == [b"said "]
    assert (await wards.operator.meta(stream_id)).tail == 5  # type: ignore[union-attr]


async def test_without_xdel_a_fold_loses_nothing(wards: Wards) -> None:
    """It did: the entries were trimmed, and then the block was not written."""
    stream_id = await a_finished(wards.operator)
    whole = [entry.event.value for entry in await log(wards.operator, stream_id)]
    await wards.grant(without="xdel")
    with pytest.raises(StoreDenied, match="XDEL"):
        await folded(wards.user, stream_id, by="")
    assert [entry.event.value for entry in await log(wards.operator, stream_id)] == whole
    await wards.grant()
    assert isinstance(await folded(wards.user, stream_id, by=""), Compacted)
    assert b"".join(entry.event.value for entry in await log(wards.operator, stream_id)) == b"".join(whole)


@pytest.mark.parametrize("right", [*FUNCTION_RIGHTS, "fcall", "xread", "info", "subscribe", "zrangebyscore"])
async def test_who_lacks_a_right_is_told_before_the_first_stream(wards: Wards, right: str) -> None:
    await wards.grant(without=right)
    with pytest.raises(StoreError) as denial:
        await wards.user.prove("worker")
    assert isinstance(denial.value, StoreDenied)
    assert right in str(denial.value).lower()


@pytest.mark.parametrize("role", ["edge", "worker"])
async def test_the_documented_rights_are_enough(wards: Wards, role: Any) -> None:
    await wards.grant(keys=f"~{wards.user.keys.prefix}:*")
    await wards.user.prove(role)


async def test_an_edge_needs_no_rights_of_a_worker(wards: Wards) -> None:
    await wards.grant(without="subscribe")
    await wards.user.prove("edge")


async def test_a_reader_without_xread_is_refused_and_goes_on_when_it_is_given_back(wards: Wards) -> None:
    stream_id = await a_live(wards.operator)
    await wards.grant(without="xread")
    tailer = wards.user.tailer()
    with pytest.raises(StoreDenied, match="xread"):
        await tailer.read({stream_id: Position(1, 0)}, count=10, block_ms=None)
    await wards.grant()
    assert await tailer.read({stream_id: Position(1, 0)}, count=10, block_ms=None)
    await tailer.aclose()
