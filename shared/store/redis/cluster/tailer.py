"""Reading the tails of many streams of a cluster: one waiting XREAD for each bucket with readers.

XREAD takes no keys of two slots, even on one node. So each bucket has a connection of its own, on which a read waits
until it has news or its time is over, over several reads of ours if need be.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final

from shared.errors import StoreBusy, StoreError, StoreUnavailable
from shared.log.events import LogEntry
from shared.log.keys import ID_CHARS, Keyspace, bucket_of
from shared.log.page import DeltaPage
from shared.log.position import Position
from shared.store.redis.cluster.connection import NodeConnection
from shared.store.redis.cluster.pipe import ClusterPipe
from shared.store.redis.cluster.router import Router
from shared.store.redis.cluster.slots import Redirect, slot_of
from shared.store.redis.errors import mapped
from shared.store.redis.replies import log_entries
from shared.store.redis.resp import Words

__all__ = ("ClusterTailer",)

Cursors = Mapping[str, Position]
News = Mapping[str, Sequence[LogEntry]]
Work = Callable[[], Coroutine[Any, Any, None]]

# A node that is away is looked for this often; the others' news wait meanwhile, so not too often.
_RETRY_S: Final = 0.5
# Between two looks at streams whose slot is on its way.
_MOVING_S: Final = 0.02


class ClusterTailer:
    """`Tailer` over XREADs to many nodes. One read at a time; `interrupt` may come from another task.

    While some nodes are away it reads from the others. When one is found again it fails, because a promoted replica may
    lack what readers already have: whoever reads has to check first.
    """

    def __init__(self, router: Router, keys: Keyspace) -> None:
        self._router = router
        self._keys = keys
        self._connections: dict[str, NodeConnection] = {}
        self._retry_at: dict[str, float] = {}
        self._pipe = ClusterPipe(router)
        self._woken = asyncio.Event()
        self._is_reading = False

    def __repr__(self) -> str:
        state = "reading" if self._is_reading else "open" if self._connections else "closed"
        return f"<ClusterTailer {state} buckets={len(self._connections)} away={len(self._retry_at)}>"

    async def read(self, cursors: Cursors, *, count: int, block_ms: int | None) -> News:
        if not cursors:
            return {}
        buckets: dict[str, dict[str, Position]] = {}
        for stream_id, position in cursors.items():
            buckets.setdefault(bucket_of(stream_id), {})[stream_id] = position
        self._woken.clear()
        try:
            await self._open(buckets)
            self._is_reading = True
            return await self._read(buckets, count=count, block_ms=block_ms or 0)
        except BaseException:
            await self.aclose()
            raise
        finally:
            self._is_reading = False

    async def interrupt(self) -> None:
        self._woken.set()

    async def aclose(self) -> None:
        connections, self._connections = list(self._connections.values()), {}
        self._retry_at.clear()
        for connection in connections:
            await connection.aclose()
        await self._pipe.aclose()

    async def _open(self, buckets: Mapping[str, Cursors]) -> None:
        """Connect for the buckets that are new here, and look for nodes that are away. Not to be left half-way."""
        now = asyncio.get_running_loop().time()
        new = [bucket for bucket in buckets if bucket not in self._connections and self._retry_at.get(bucket, 0) <= now]
        if new:
            await _together([partial(self._open_line, bucket) for bucket in new])
            self._see_all_away(buckets)

    async def _open_line(self, bucket: str) -> None:
        owners = await self._router.slots()
        address = owners.owners[slot_of(("XREAD", "STREAMS", self._keys.leases(bucket))) or 0]
        if address is None:
            self._router.doubt()
            self._lose(bucket)
            return
        connection = NodeConnection(address, self._router.client(address))
        try:
            await connection.open()
        except StoreError as error:
            if not error.retryable:
                raise
            self._router.doubt(address)
            self._lose(bucket)
            return
        self._connections[bucket] = connection
        if self._retry_at.pop(bucket, None) is not None:
            raise StoreUnavailable(f"the node of bucket {bucket} was away")

    async def _read(self, buckets: Mapping[str, Cursors], *, count: int, block_ms: int) -> News:
        news: dict[str, Sequence[LogEntry]] = {}
        followed = {bucket: cursors for bucket, cursors in buckets.items() if bucket in self._connections}
        follow = [partial(self._follow, bucket, followed[bucket], news, count, block_ms) for bucket in followed]
        if block_ms:
            await _together(follow, until=self._woken, within_s=block_ms / 1000)
        else:
            await _together(follow)
        self._see_all_away(buckets)
        return news

    async def _follow(
        self, bucket: str, cursors: Cursors, news: dict[str, Sequence[LogEntry]], count: int, block_ms: int
    ) -> None:
        """Read one bucket until there is news of it, or once if nobody waits."""
        connection = self._connections[bucket]
        while True:
            try:
                found = await self._news(connection, cursors, count, block_ms)
            except StoreError as error:
                if not isinstance(error, StoreUnavailable):
                    raise
                await self._leave(bucket)
                self._router.doubt(connection.address)
                self._lose(bucket)
                return
            if found is None:
                await self._leave(bucket)
                self._woken.set()
                return
            news.update(found)
            if found:
                self._woken.set()
            if found or not block_ms:
                return

    async def _news(self, connection: NodeConnection, cursors: Cursors, count: int, block_ms: int) -> News | None:
        """One reply's worth; None if the slot has another node now."""
        if connection.is_waiting and not (block_ms and _covers(connection.cursors, cursors)):
            reply = await connection.break_off()
            if reply:
                return await self._understood(reply, connection, cursors, count)
        if not connection.is_waiting:
            connection.ask(cursors, self._command(cursors, count, block_ms), wait_ms=block_ms)
        return await self._understood(await connection.reply(), connection, cursors, count)

    async def _understood(self, reply: Any, connection: NodeConnection, cursors: Cursors, count: int) -> News | None:
        redirect = Redirect.of(reply, asked=connection.address)
        if redirect is not None and redirect.moved:
            await self._follow_move(redirect, connection)
            return None
        if redirect is not None and redirect.word in {"ASK", "TRYAGAIN"}:
            found = await self._one_by_one(cursors, count)
            await asyncio.sleep(0 if found else _MOVING_S)
            return found
        if isinstance(reply, Exception):
            self._router.doubt()
            raise mapped(reply) from reply
        return self._matching(reply or (), connection.cursors, cursors)

    async def _follow_move(self, redirect: Redirect, connection: NodeConnection) -> None:
        """A slot that was moved has lost nothing. After a failover something may be missing: who reads has to check."""
        self._router.doubt()
        owners = await self._router.slots()
        self._router.learn(redirect)
        if connection.address not in owners.masters:
            raise StoreBusy(f"{connection.address[0]}:{connection.address[1]} is no master any more")

    async def _one_by_one(self, cursors: Cursors, count: int) -> News:
        """While a slot is on its way, its streams are on two nodes, and only reads of one are redirected."""
        commands = [self._command({each: cursors[each]}, count, 0) for each in cursors]
        replies = await self._pipe.ask(commands)
        found: dict[str, Sequence[LogEntry]] = {}
        for reply in replies:
            if isinstance(reply, Exception):
                error = mapped(reply)
                if not isinstance(error, StoreBusy):
                    raise error
            elif reply:
                found |= self._matching(reply, cursors, cursors)
        return found

    def _matching(self, reply: Sequence[Any], asked: Cursors, wanted: Cursors) -> dict[str, Sequence[LogEntry]]:
        """The news that follow the cursors there are now. A read may have waited since before one was moved."""
        raw = {key[-ID_CHARS:].decode(): entries for key, entries in reply}
        if not raw.keys() <= asked.keys():
            raise StoreUnavailable("Redis answered about streams that nobody asked for")
        return {
            stream_id: DeltaPage.of(entries) or log_entries(entries)
            for stream_id, entries in raw.items()
            if stream_id in wanted and wanted[stream_id] == asked[stream_id]
        }

    def _command(self, cursors: Cursors, count: int, block_ms: int) -> Words:
        command: list[str | int] = ["XREAD", "COUNT", count]
        if block_ms > 0:
            command += ["BLOCK", block_ms]
        command.append("STREAMS")
        command += [self._keys.stream(stream_id) for stream_id in cursors]
        command += [str(position) for position in cursors.values()]
        return tuple(command)

    def _lose(self, bucket: str) -> None:
        self._retry_at[bucket] = asyncio.get_running_loop().time() + _RETRY_S

    def _see_all_away(self, buckets: Mapping[str, Cursors]) -> None:
        if buckets and buckets.keys() <= self._retry_at.keys():
            raise StoreUnavailable("no node with these streams answers")

    async def _leave(self, bucket: str) -> None:
        connection = self._connections.pop(bucket, None)
        if connection is not None:
            await connection.aclose()


def _covers(asked: Cursors, wanted: Cursors) -> bool:
    return all(asked.get(stream_id) == position for stream_id, position in wanted.items())


async def _together(works: Sequence[Work], *, until: asyncio.Event | None = None, within_s: float = 0) -> None:
    """All of them at once; with `until` they are left when that is set or time is over. The first failure is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work()) for work in works]
            if until is None:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within_s):
                    await until.wait()
            for task in tasks:
                task.cancel()
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
