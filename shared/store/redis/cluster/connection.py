"""A connection to one node that waits for the news of one bucket, and whose wait can be left and taken up again.

A read that another bucket has ended is not cancelled but left waiting: to break it off and send it again would cost
two commands for each bucket whenever one of them has news.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.log.position import Position
from shared.store.redis.cluster.slots import Address
from shared.store.redis.errors import mapping

__all__ = ("NodeConnection",)

_READ_BYTES: Final = 64 * 1024
_NOTHING_YET: Final = object()
_OPEN_S: Final = 1.0
_RETRY_S: Final = 0.001


class NodeConnection:
    """One read at a time: `open` once, then `ask` and `reply` in turn. A reply may be waited for in several goes."""

    def __init__(self, address: Address, client: Redis) -> None:
        self.address = address
        self.cursors: Mapping[str, Position] = {}
        self.is_waiting = False
        self._client = client
        self._connection: Connection | None = None
        self._replies = hiredis.Reader()
        self._id = 0
        self._overdue_at = 0.0

    def __repr__(self) -> str:
        state = "waiting" if self.is_waiting else "open" if self._connection else "closed"
        return f"<NodeConnection {self.address[0]}:{self.address[1]} {state}>"

    async def open(self) -> None:
        """Connect. Raises `StoreError`."""
        connection = cast("Connection", self._client.connection_pool.make_connection())  # type: ignore[no-untyped-call]
        # Known before it is open, so that whoever gives up half-way closes it.
        self._connection = connection
        try:
            with mapping():
                async with asyncio.timeout(_OPEN_S):
                    await connection.connect()  # type: ignore[no-untyped-call]
                    parse_error = connection._parser.parse_error
                    self._replies = hiredis.Reader(replyError=parse_error, notEnoughData=_NOTHING_YET)
                    self._send(("CLIENT", "ID"))
                    self._id = int(await self._receive())
        except BaseException:
            await self.aclose()
            raise

    def ask(self, cursors: Mapping[str, Position], command: Sequence[str | int], *, wait_ms: int) -> None:
        """Send an XREAD that waits so long for news of these cursors."""
        self.cursors, self.is_waiting = cursors, True
        self._send(command)
        timeout_s = cast("float", cast("Connection", self._connection).socket_timeout)
        self._overdue_at = asyncio.get_running_loop().time() + wait_ms / 1000 + timeout_s

    async def reply(self) -> Any:
        """What Redis says to it, refusals as exceptions. To be cancelled here loses nothing. Raises `StoreError`."""
        with mapping():
            async with asyncio.timeout_at(self._overdue_at):
                reply = await self._receive()
        self.is_waiting = False
        return reply

    async def break_off(self) -> Any:
        """End the wait; answers what there was to say."""
        # Redis may not have seen the read yet, and an unblocking that comes before it has no effect: try until it has.
        with mapping():
            while self.is_waiting and not await self._client.client_unblock(self._id):
                try:
                    async with asyncio.timeout(_RETRY_S):
                        return await self.reply()
                except TimeoutError:
                    continue
        return await self.reply() if self.is_waiting else None

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        self.is_waiting = False
        if connection is not None:
            await connection.disconnect(nowait=True)

    def _send(self, command: Sequence[str | int]) -> None:
        writer = cast("Connection", self._connection)._writer
        # What is already closed is seen by whoever reads.
        if writer is not None and not writer.transport.is_closing():
            writer.write(hiredis.pack_command(tuple(command)))  # type: ignore[arg-type]

    async def _receive(self) -> Any:
        reader = cast("Connection", self._connection)._reader
        while (reply := self._replies.gets()) is _NOTHING_YET:
            data = await reader.read(_READ_BYTES) if reader is not None else b""
            if not data:
                raise RedisConnectionError("the connection was closed by Redis")
            self._replies.feed(data)
        return reply
