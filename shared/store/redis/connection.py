"""A connection whose commands can be cancelled, and that leaves a master which is none any more.

redis-py 5.3 sends each command through `asyncio.wait_for`, and Python 3.11's `wait_for` swallows a cancellation that
arrives in the turn of the loop in which the send completes (cpython #86296, mended in 3.12). The caller then goes on
as if nobody had cancelled it: a worker told to stop in that moment never ended. `asyncio.timeout` has no such window,
and saves a task per command.

A demoted master keeps its connections and refuses every write. redis-py asks for the new master only where Sentinels
named the old one; behind an address that moved (a service, a proxy, DNS) it would be refused for ever.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, ClassVar

import redis.exceptions as rx
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, ConnectionPool

__all__ = ("chunks", "cut", "make_cancellable")


def make_cancellable(client: "Redis") -> None:
    """Let this client's future connections be cancellable, whatever their kind (TCP, TLS, Unix, Sentinel)."""
    pool = client.connection_pool
    base = pool.connection_class
    parts = (_CancellableSend, _LeavesReplica, _DropsDeaf, base)
    pool.connection_class = type(f"Cancellable{base.__name__}", parts, {"pool": pool})


class _CancellableSend(AbstractConnection):
    """`AbstractConnection.send_packed_command` as it is, but for the deadline."""

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        if not self.is_connected:
            await self.connect()  # type: ignore[no-untyped-call]
        elif check_health:
            await self.check_health()  # type: ignore[no-untyped-call]
        try:
            if self._writer is None or self._writer.transport.is_closing():
                # Writing all the same would be a RuntimeError under uvloop, which nobody takes for a lost connection.
                raise ConnectionResetError("it was closed by the other side")  # noqa: TRY301
            async with asyncio.timeout(self.socket_timeout):
                await self._send_packed_command(chunks(command))
        except TimeoutError:
            await self.disconnect(nowait=True)
            raise rx.TimeoutError("Timeout writing to socket") from None
        except OSError as error:
            await self.disconnect(nowait=True)
            raise rx.ConnectionError(f"Error while writing to socket. {error}.") from error
        except BaseException:
            # Half a command may be on its way; nothing else can be sent after it.
            await self.disconnect(nowait=True)
            raise


class _LeavesReplica(AbstractConnection):
    """Reads as `AbstractConnection` does; after READONLY the next command is sent over a new connection."""

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)
        except rx.ReadOnlyError:
            await self.disconnect(nowait=True)
            raise


class _DropsDeaf(AbstractConnection):
    """Reads as `AbstractConnection` does. When no answer comes in time, those that wait in the pool are closed.

    A firewall that forgets connections forgets all of them at once, and each would cost somebody a deadline.
    """

    pool: ClassVar[ConnectionPool]

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)
        except rx.TimeoutError:
            await self.pool.disconnect(inuse_connections=False)
            raise


def cut(connection: AbstractConnection) -> None:
    """End a connection under whoever uses it, who sees it as if the network had done so."""
    writer = connection._writer
    if writer is not None:
        writer.transport.abort()


def chunks(command: str | bytes | Iterable[bytes]) -> Iterable[bytes]:
    """A packed command in the pieces that it comes in."""
    if isinstance(command, str):
        command = command.encode()
    return [command] if isinstance(command, bytes) else command
