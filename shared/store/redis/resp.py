"""Redis' protocol spoken by ourselves: commands packed, and replies taken off a connection as they come.

Only the hot paths come here: redis-py walks through several coroutines and a timer for each reply. It connects,
authenticates and selects; then its streams are taken from it. Whatever is private in its connections is touched in this
module and in `connection.py`, checked with redis-py 5.3.1.
"""

from functools import lru_cache
from typing import Any, Final, cast

import hiredis
from redis.asyncio import Redis
from redis.asyncio.connection import Connection
from redis.exceptions import ConnectionError as RedisConnectionError

__all__ = (
    "Conversation",
    "Words",
    "detached_connection",
    "packed",
    "packed_bytes",
    "packed_word",
    "packed_words",
    "unblocked",
)

Words = tuple[str | bytes | int, ...]

_READ_BYTES: Final = 64 * 1024
_NOTHING_YET: Final = object()


def packed(words: Words) -> bytes:
    """Return a whole command."""
    command: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]
    return command


def packed_words(words: Words) -> bytes:
    """Return words as they stand in a command, without the count that a command begins with."""
    command = packed(words)
    return command[command.index(b"\n") + 1 :]


@lru_cache(maxsize=64)
def packed_word(word: str) -> bytes:
    """Return one word that comes again and again."""
    return packed_words((word,))


def packed_bytes(word: bytes) -> bytes:
    """Return one word that comes once: 0.2 µs instead of the 0.5 of hiredis for a single one."""
    return b"$%d\r\n%b\r\n" % (len(word), word)


def detached_connection(client: "Redis") -> Connection:
    """Return a connection with the client's options that its pool does not know. Nothing is connected yet.

    A cancelled command on a pooled connection can hand its reply to the next user of that connection.
    """
    return cast("Connection", client.connection_pool.make_connection())  # type: ignore[no-untyped-call]


class Conversation:
    """Commands and replies over one connection of its own, in order. Refusals are replies: exceptions, not raised."""

    __slots__ = ("_replies", "connection")

    def __init__(self, client: "Redis") -> None:
        self.connection = detached_connection(client)
        self._replies = hiredis.Reader()

    def __repr__(self) -> str:
        return f"<Conversation {'open' if self.is_open else 'closed'}>"

    @property
    def is_open(self) -> bool:
        """Return whether something may be sent: the connection was made, and Redis has not closed it."""
        reader = self.connection._reader
        return reader is not None and not reader.at_eof()

    @property
    def timeout_s(self) -> float:
        """The deadline of a command by the client's options."""
        return cast("float", self.connection.socket_timeout)

    async def open(self) -> None:
        """Connect as the client would. Raises what redis-py raises."""
        await self.connection.connect()  # type: ignore[no-untyped-call]
        parse_error = self.connection._parser.parse_error
        self._replies = hiredis.Reader(replyError=parse_error, notEnoughData=_NOTHING_YET)

    def send(self, command: bytes) -> None:
        """Write without waiting. To a connection that is closed it goes nowhere, and whoever receives sees that."""
        writer = self.connection._writer
        if writer is not None and not writer.transport.is_closing():
            writer.write(command)

    async def drain(self) -> None:
        """Wait until Redis has taken most of what was sent. Raises `ConnectionError` if the connection is closed."""
        writer = self.connection._writer
        if writer is None or writer.transport.is_closing():
            raise RedisConnectionError("the connection was closed")
        await writer.drain()

    async def receive(self, count: int = 1) -> list[Any]:
        """Return the next replies. Raises `ConnectionError`. To be cancelled while waiting for one loses nothing."""
        reader, found = self.connection._reader, list[Any]()
        while len(found) < count:
            reply = self._replies.gets()
            if reply is not _NOTHING_YET:
                found.append(reply)
                continue
            data = await reader.read(_READ_BYTES) if reader is not None else b""
            if not data:
                raise RedisConnectionError("the connection was closed by Redis")
            self._replies.feed(data)
        return found

    async def close(self) -> None:
        """Cut the connection; an unfinished conversation is never taken up again."""
        await self.connection.disconnect(nowait=True)


async def unblocked(client: "Redis", client_id: int) -> bool:
    """End the wait of another connection, as if its time were over. Return whether it was waiting."""
    return bool(await client.client_unblock(client_id))
