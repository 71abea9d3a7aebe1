"""Connections to the master that Sentinels name, which are cut as soon as they name another one.

After a planned `SENTINEL FAILOVER` the old master goes on taking writes and answering reads for some ten seconds, until
the Sentinels make it a replica: who stays there writes what will be thrown away. So somebody listens for
`+switch-master` and asks once a second (`follow`). An opinion older than one that was heard before is not believed, or
a Sentinel that has yet to hear of the failover would lead back to the old master.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any, Final, cast
from weakref import WeakSet

import redis.exceptions as rx
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.sentinel import MasterNotFoundError, SentinelConnectionPool

from shared.backoff import jittered_s
from shared.store.redis.connection import cut
from shared.store.redis.sentinel.opinion import Address, Opinion, opinion_of

__all__ = ("MasterPool", "follow_master")

logger = logging.getLogger(__name__)

_ASK_EVERY_S: Final = 1.0
_ASK_S: Final = 1.0
# Sooner than once a second after a hint, but no storm of questions from a worker whose every write is refused.
_LEAST_PAUSE_S: Final = 0.1
_SILENCE_S: Final = 15.0


class MasterPool(SentinelConnectionPool):
    """redis-py's pool, whose connections all lead to the newest master that any Sentinel has named."""

    def __init__(self, service_name: str, sentinel_manager: Any, **options: Any) -> None:
        super().__init__(service_name, sentinel_manager, **options)  # type: ignore[no-untyped-call]
        self._made = WeakSet[AbstractConnection]()
        self._epoch = 0
        self._hint = asyncio.Event()

    @property
    def sentinels(self) -> Sequence["Redis"]:
        return cast("Sequence[Redis]", self.sentinel_manager.sentinels)

    def make_connection(self) -> AbstractConnection:
        connection = cast("AbstractConnection", super().make_connection())  # type: ignore[no-untyped-call]
        self._made.add(connection)
        return connection

    async def get_master_address(self) -> Address:
        """Ask one Sentinel after the other until one knows no less than was known before."""
        best: Opinion | None = None
        for sentinel in self.sentinels:
            opinion = await _tried(sentinel, self.service_name)
            if opinion is None or opinion.is_down:
                continue
            best = opinion if best is None else max(best, opinion)
            if best.epoch >= self._epoch:
                break
        if best is None:
            raise MasterNotFoundError(f"no Sentinel names a master of {self.service_name!r} that is up")
        if best.epoch >= self._epoch or self.master_address is None:
            self._adopt(best)
        return cast("Address", self.master_address)

    def hint(self) -> None:
        """Something speaks for a failover: ask now rather than within a second."""
        self._hint.set()

    async def follow(self) -> None:
        """Listen and ask until cancelled."""
        async with asyncio.TaskGroup() as group:
            for sentinel in self.sentinels:
                group.create_task(self._listen(sentinel))
            await self._ask_again_and_again()

    async def _ask_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(_LEAST_PAUSE_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_ASK_EVERY_S - _LEAST_PAUSE_S):
                    await self._hint.wait()
            self._hint.clear()
            if self.master_address is None:
                continue  # nobody has connected yet
            opinions = await asyncio.gather(*(_tried(each, self.service_name) for each in self.sentinels))
            found = [each for each in opinions if each is not None and not each.is_down]
            if found:
                # Of all that answer; should nobody know the newest any more, there is no way back to it.
                self._adopt(max(found))

    def _adopt(self, opinion: Opinion) -> None:
        self._epoch = opinion.epoch
        if opinion.address != self.master_address:
            if self.master_address is not None:
                logger.warning("another master: %s:%s", *opinion.address)
            self.master_address = opinion.address
        for connection in list(self._made):
            host, port = cast("Any", connection).host, cast("Any", connection).port
            if (host, port) != opinion.address:
                cut(connection)

    async def _listen(self, sentinel: "Redis") -> None:
        """Give a hint whenever one Sentinel tells of a new master. What it does not tell is asked for anyway."""
        while True:
            try:
                async with sentinel.pubsub() as channel:
                    await channel.subscribe("+switch-master")
                    while await self._heard(channel):
                        pass
            except (rx.RedisError, OSError):
                await asyncio.sleep(jittered_s(_ASK_EVERY_S))

    async def _heard(self, channel: Any) -> bool:
        """Return whether the channel is still worth listening to: one that was silent for long may be dead."""
        message = await channel.get_message(timeout=_SILENCE_S)
        if message is None:
            return False
        if message["type"] == "message":
            self.hint()
        return True


async def follow_master(client: "Redis") -> None:
    """Keep a client at the newest master until cancelled. Returns at once if no Sentinel is to be asked."""
    pool = client.connection_pool
    if isinstance(pool, MasterPool):
        await pool.follow()


async def _tried(sentinel: "Redis", name: str) -> Opinion | None:
    """Return a Sentinel's opinion; None if it does not answer, or does not know this master."""
    try:
        async with asyncio.timeout(_ASK_S):
            return await opinion_of(sentinel, name)
    except (rx.RedisError, OSError, TimeoutError, ValueError):
        return None
