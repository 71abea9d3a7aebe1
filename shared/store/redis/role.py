"""Connections that look whether their node is still a master, and leave it when it is not.

A master that is demoted by a plain `REPLICAOF` keeps its connections. Writes are refused, but reads go on, and once its
own link is cut they tell of the past for ever. So a connection asks along with what it sends anyway: with its first
command, then at most once a second, and at once when another one of its client was left by its master.

`HELLO` names the role as `ROLE` and `INFO` do. But every user may say it (ROLE is among the dangerous commands), and a
node answers it while it loads, has lost its own master, or is held up by a function; it costs Redis 0.4 µs. A write
without effect would do without an answer of its own, but waits through CLIENT PAUSE and is refused when the disk is
full, and reads have to go on then.

In a Redis Cluster a replica answers MOVED to reads, too, so there nothing has to be asked.
"""

import time
from math import inf
from typing import Any, ClassVar, Final

import redis.exceptions as rx
from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection, ConnectionPool

from shared.store.redis.connection import chunks
from shared.store.redis.resp import packed
from shared.store.redis.sentinel.pool import MasterPool

__all__ = ("RoleLook", "keep_to_master", "look_of", "tells_of_failover")

_QUESTION: Final = packed(("HELLO",))
_EVERY_S: Final = 1.0


class _Doubt:
    """Shared by the connections of a client: when one of them last learned that its node may be no master any more."""

    def __init__(self, pool: ConnectionPool) -> None:
        self.raised_at = -inf
        self._pool = pool

    async def raise_(self) -> None:
        """Let busy connections check with their next command; close idle ones: each would cost a caller a refusal."""
        self.raised_at = time.monotonic()
        if isinstance(self._pool, MasterPool):
            self._pool.hint()
        await self._pool.disconnect(inuse_connections=False)


class RoleLook:
    """The times at which one connection asks for the role of its node, and the meaning of the answer."""

    __slots__ = ("_asked_at", "_doubt")

    def __init__(self, doubt: _Doubt) -> None:
        self._asked_at = -inf
        self._doubt = doubt

    def __repr__(self) -> str:
        return f"<RoleLook {'due' if self.is_due() else 'taken'}>"

    def is_due(self) -> bool:
        return self.is_doubted() or time.monotonic() - self._asked_at >= _EVERY_S

    def is_doubted(self) -> bool:
        """Return whether another connection has learned something since this one asked."""
        return self._asked_at <= self._doubt.raised_at

    def question(self) -> bytes:
        """The command that asks. Its answer comes before those to what is sent after it."""
        self._asked_at = time.monotonic()
        return _QUESTION

    async def judge(self, answer: object) -> None:
        """Raises `ReadOnlyError` if it is a replica's. An answer without a role, as a Sentinel's, says nothing."""
        pairs = answer if isinstance(answer, dict) else _pairs(answer)
        if pairs.get(b"role") == b"replica":
            await self.doubt()
            raise _refusal()

    async def doubt(self) -> None:
        """No other connection of this client answers before it has looked."""
        await self._doubt.raise_()


def keep_to_master(client: "Redis") -> None:
    """Let this client's future connections leave a node that is no master."""
    pool = client.connection_pool
    base = pool.connection_class
    pool.connection_class = type(f"Looking{base.__name__}", (_LooksAtRole, base), {"doubt": _Doubt(pool)})


def look_of(connection: AbstractConnection) -> RoleLook | None:
    """For whoever sends and receives over a connection by itself. None if it is not to look."""
    return connection.look if isinstance(connection, _LooksAtRole) else None


class _LooksAtRole(AbstractConnection):
    """Reads and writes as `AbstractConnection` does, with a question before a command now and then."""

    doubt: ClassVar[_Doubt]
    # None during the handshake, whose answers are not taken one by one, and which may have to say first who we are.
    look: RoleLook | None = None
    _is_asked = _is_left = False

    async def on_connect(self) -> None:
        self.look, self._is_asked, self._is_left = None, False, False
        await super().on_connect()
        self.look = RoleLook(self.doubt)

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        if not self.is_connected:
            await self.connect()  # type: ignore[no-untyped-call]
        # Whoever has subscribed sends without a check of health, and may ask nothing.
        if check_health and self.look is not None and self.look.is_due():
            self._is_asked = True
            command = [self.look.question(), *chunks(command)]
        await super().send_packed_command(command, check_health)

    async def read_response(self, *args: Any, **options: Any) -> Any:
        if self._is_asked:
            await self._hear()
        if self._is_left:
            raise _refusal()  # to all that was sent along with the question
        try:
            return await super().read_response(*args, **options)
        except (rx.ConnectionError, rx.TimeoutError, rx.ResponseError) as error:
            if self.look is not None and tells_of_failover(error):
                await self.look.doubt()
            raise

    async def _hear(self) -> None:
        assert self.look is not None
        try:
            answer = await super().read_response(disable_decoding=True)
        except rx.ResponseError:
            answer = None  # it knows no such command, so it is no Redis of ours; what follows will tell
        self._is_asked = False
        try:
            await self.look.judge(answer)
        except rx.ReadOnlyError:
            self._is_left = True
            await self.disconnect(nowait=True)
            raise


def _refusal() -> rx.ReadOnlyError:
    return rx.ReadOnlyError("the node is a replica, and what it knows may be old")


def _pairs(answer: object) -> dict[Any, Any]:
    return dict(zip(answer[::2], answer[1::2], strict=False)) if isinstance(answer, list) else {}


def tells_of_failover(error: object) -> bool:
    """Return whether a failure or a refusal may mean that there is another master now.

    NOREPLICAS among them: a master whose replica was promoted has none, long before it learns that it is none itself.
    """
    if isinstance(error, rx.ConnectionError | rx.TimeoutError | rx.ReadOnlyError):
        return True
    return isinstance(error, rx.ResponseError) and str(error).startswith(("UNBLOCKED", "NOREPLICAS"))
