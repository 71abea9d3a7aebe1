"""Reading the tails of many streams over one connection of its own.

A cancelled command on a pooled connection can hand its reply to the next user of that connection; so a tailer's
connection comes from no pool, goes to nobody else, and is closed when a read is cancelled. Replies are taken as they
come off the wire: redis-py's parsing of XREAD would build dictionaries that are taken apart again at once.
"""

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, cast

from redis.asyncio import Redis
from redis.asyncio.connection import Connection

from shared.errors import StoreError, StoreMisused, StoreUnavailable
from shared.log.events import LogEntry
from shared.log.keys import ID_CHARS, Keyspace
from shared.log.page import DeltaPage
from shared.log.position import Position
from shared.store.redis.errors import about_key, mapping
from shared.store.redis.replies import log_entries
from shared.store.redis.resp import detached_connection, packed, packed_bytes, unblocked
from shared.store.redis.role import look_of

__all__ = ("RedisTailer",)

# For three Sentinels, of which two do not answer, and the master that the third one names.
_OPEN_S = 5.0
_RETRY_S = 0.001
_MOST_NAMES = 20_000
_CLIENT_ID = packed(("CLIENT", "ID"))


class RedisTailer:
    """`Tailer` over XREAD. One read at a time; `interrupt` may come from another task."""

    def __init__(self, client: "Redis", keys: Keyspace) -> None:
        self._client = client
        self._keys = keys
        self._connection: Connection | None = None
        self._client_id = 0
        self._timeout_s = 0.0
        self._reading = False
        self._reads = 0
        self._names: dict[str, bytes] = {}
        self._ids: dict[bytes, str] = {}
        self._stream_ids: list[str] = []
        self._positions: list[Position] = []
        self._packed_keys = b""
        self._packed_positions: list[bytes] = []

    def __repr__(self) -> str:
        state = "reading" if self._reading else "open" if self._connection else "closed"
        return f"<RedisTailer {state}>"

    async def read(
        self, cursors: Mapping[str, Position], *, count: int, block_ms: int | None
    ) -> Mapping[str, Sequence[LogEntry]]:
        if not cursors:
            return {}
        self._reads += 1
        self._reading = True
        try:
            connection = await self._open()
            command = self._command(cursors, count=count, block_ms=block_ms or 0)
            reply = await self._ask(connection, command, wait_s=(block_ms or 0) / 1000)
        except StoreMisused as error:
            if len(cursors) > 1:
                raise
            raise about_key(self._keys.stream(next(iter(cursors))), error) from error
        finally:
            self._reading = False
        ids = self._ids
        news = {
            ids.get(key) or key[-ID_CHARS:].decode(): DeltaPage.of(raw) or log_entries(raw) for key, raw in reply or ()
        }
        if not news.keys() <= cursors.keys():
            await self.aclose()
            raise StoreUnavailable("Redis answered about streams that nobody asked for")
        return news

    async def interrupt(self) -> None:
        read = self._reads
        # Redis may not have seen the read yet, and an unblocking that comes before it has no effect: try until it has.
        while self._reading and self._reads == read:
            if await self._unblock():
                return
            await asyncio.sleep(_RETRY_S)

    async def _unblock(self) -> bool:
        if not self._client_id:
            return False
        with mapping():
            return await unblocked(self._client, self._client_id)

    async def _doubt(self) -> None:
        """Perhaps there is another master now. Reads from the old one would go on, and be stale."""
        look = look_of(self._connection) if self._connection is not None else None
        if look is not None:
            await look.doubt()
        else:
            await self._client.connection_pool.disconnect(inuse_connections=False)

    async def aclose(self) -> None:
        connection, self._connection = self._connection, None
        self._client_id = 0
        if connection is not None:
            await connection.disconnect(nowait=True)

    def _command(self, cursors: Mapping[str, Position], *, count: int, block_ms: int) -> bytes:
        """XREAD, packed here, because the names of 1,500 streams are mostly those of the read before."""
        words = [b"XREAD", b"COUNT", b"%d" % count]
        if block_ms > 0:
            words += [b"BLOCK", b"%d" % block_ms]
        words.append(b"STREAMS")
        head = b"*%d\r\n%b" % (len(words) + 2 * len(cursors), b"".join(map(packed_bytes, words)))
        self._pack(list(cursors), list(cursors.values()))
        return b"".join([head, self._packed_keys, *self._packed_positions])

    def _pack(self, stream_ids: list[str], positions: list[Position]) -> None:
        """Renew what has changed since the read before: mostly the positions of those that had news."""
        if stream_ids != self._stream_ids:
            self._stream_ids = stream_ids
            self._packed_keys = b"".join([self._key(stream_id) for stream_id in stream_ids])
            self._packed_positions = list(map(_packed_position, positions))
        else:
            moved = [
                at for at, (now, then) in enumerate(zip(positions, self._positions, strict=True)) if now is not then
            ]
            for at in moved:
                self._packed_positions[at] = _packed_position(positions[at])
        self._positions = positions

    def _key(self, stream_id: str) -> bytes:
        """The packed key of a stream, which is asked for some hundred times a second."""
        packed = self._names.get(stream_id)
        if packed is None:
            if len(self._names) > _MOST_NAMES:
                self._names.clear()
                self._ids.clear()
            key = self._keys.stream(stream_id).encode()
            packed = self._names[stream_id] = packed_bytes(key)
            self._ids[key] = stream_id
        return packed

    async def _open(self) -> Connection:
        if self._connection is None:
            self._connection, self._timeout_s = _new_connection(self._client)
            await self._within(_OPEN_S, self._connection.connect())  # type: ignore[no-untyped-call]
            self._client_id = int(await self._ask(self._connection, _CLIENT_ID))
        return self._connection

    async def _ask(self, connection: Connection, command: bytes, *, wait_s: float = 0.0) -> Any:
        """The reply, within the deadline of every command beyond the time that Redis was asked to wait."""
        return await self._within(wait_s + self._timeout_s, _converse(connection, command))

    async def _within(self, timeout_s: float, conversation: Awaitable[Any]) -> Any:
        """Await a conversation. A failure half-way closes the connection: nobody can resume a conversation."""
        try:
            with mapping():
                async with asyncio.timeout(timeout_s):
                    return await conversation
        except StoreError:
            await self._doubt()
            await self.aclose()
            raise
        except BaseException:
            await self.aclose()
            raise


async def _converse(connection: Connection, command: bytes) -> Any:
    await connection.send_packed_command(command)
    return await connection.read_response()


def _packed_position(position: Position) -> bytes:
    return packed_bytes(b"%d-%d" % position)


def _new_connection(client: "Redis") -> tuple[Connection, float]:
    """A connection with the client's options that its pool does not know, and its deadline.

    It is kept by us alone: redis-py would cut a waiting read, or answer None and leave the reply to the next.
    """
    connection = detached_connection(client)
    timeout_s, connection.socket_timeout = connection.socket_timeout, None
    return connection, cast("float", timeout_s)
