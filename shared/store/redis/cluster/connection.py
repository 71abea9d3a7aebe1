"""A connection to one node that waits for the news of one bucket, and whose wait can be left and taken up again.

A read that another bucket has ended is not cancelled but left waiting: to break it off and send it again would cost
two commands for each bucket whenever one of them has news.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, cast

from redis.asyncio import Redis

from shared.log.position import Position
from shared.store.redis.cluster.slots import Address
from shared.store.redis.errors import mapping
from shared.store.redis.resp import Conversation, Words, packed, unblocked

__all__ = ("NodeConnection",)

_OPEN_S: Final = 1.0
_RETRY_S: Final = 0.001


class NodeConnection:
    """One read at a time: `open` once, then `ask` and `reply` in turn. A reply may be waited for in several goes."""

    def __init__(self, address: Address, client: Redis) -> None:
        self.address = address
        self.cursors: Mapping[str, Position] = {}
        self.is_waiting = False
        self._client = client
        self._conversation: Conversation | None = None
        self._id = 0
        self._overdue_at = 0.0

    def __repr__(self) -> str:
        state = "waiting" if self.is_waiting else "open" if self._conversation else "closed"
        return f"<NodeConnection {self.address[0]}:{self.address[1]} {state}>"

    async def open(self) -> None:
        """Connect. Raises `StoreError`."""
        # Known before it is open, so that whoever gives up half-way closes it.
        self._conversation = conversation = Conversation(self._client)
        try:
            with mapping():
                async with asyncio.timeout(_OPEN_S):
                    await conversation.open()
                    conversation.send(packed(("CLIENT", "ID")))
                    (client_id,) = await conversation.receive()
                    self._id = int(client_id)
        except BaseException:
            await self.aclose()
            raise

    def ask(self, cursors: Mapping[str, Position], command: Words, *, wait_ms: int) -> None:
        """Send an XREAD that waits so long for news of these cursors."""
        self.cursors, self.is_waiting = cursors, True
        conversation = cast("Conversation", self._conversation)
        conversation.send(packed(command))
        self._overdue_at = asyncio.get_running_loop().time() + wait_ms / 1000 + conversation.timeout_s

    async def reply(self) -> Any:
        """Return Redis' reply, a refusal as an exception. To be cancelled here loses nothing. Raises `StoreError`."""
        with mapping():
            async with asyncio.timeout_at(self._overdue_at):
                (reply,) = await cast("Conversation", self._conversation).receive()
        self.is_waiting = False
        return reply

    async def break_off(self) -> Any:
        """End the wait; answers what there was to say."""
        # Redis may not have seen the read yet, and an unblocking that comes before it has no effect: try until it has.
        with mapping():
            while self.is_waiting and not await unblocked(self._client, self._id):
                try:
                    async with asyncio.timeout(_RETRY_S):
                        return await self.reply()
                except TimeoutError:
                    continue
        return await self.reply() if self.is_waiting else None

    async def aclose(self) -> None:
        conversation, self._conversation = self._conversation, None
        self.is_waiting = False
        if conversation is not None:
            await conversation.close()
