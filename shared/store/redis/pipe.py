"""Many commands in one write and their replies in as few reads as they come in.

redis-py walks through several coroutines and a timer for each reply of a pipeline. CPU of the caller for an append,
measured in one run: 49 µs there and 15 here in batches of 64, 75 and 28 in batches of 8. Only the hot path comes here.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from shared.errors import StoreUnavailable
from shared.store.redis.errors import mapping
from shared.store.redis.resp import Conversation, Words, packed
from shared.store.redis.role import look_of, tells_of_failover

__all__ = ("Command", "RedisPipe")

# Words, or what Redis reads, put together already.
Command = Words | bytes


class RedisPipe:
    """A connection of its own, with the client's options. Batches go one after the other."""

    def __init__(self, client: "Redis") -> None:
        self._client = client
        self._conversation: Conversation | None = None
        self._sending = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<RedisPipe {'open' if self._conversation else 'closed'}>"

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """The replies in order; refusals stand among them as exceptions. Raises `StoreError`.

        Whatever goes wrong half-way closes the connection: the rest of an unfinished batch is nobody's reply.
        """
        async with self._sending:
            try:
                with mapping():
                    conversation = await self._usable()
                    async with asyncio.timeout(conversation.timeout_s):
                        replies = await _answers(conversation, commands)
            except StoreUnavailable:
                await self._doubt()
                await self.aclose()
                raise
            except BaseException:
                await self.aclose()
                raise
            if any(tells_of_failover(reply) for reply in replies):
                # Perhaps a master no more: it keeps the connection and would refuse for ever. So who is one is asked.
                await self._doubt()
                await self.aclose()
            return replies

    async def _doubt(self) -> None:
        """Tell the others: their connections may be as deaf, or lead to the same master that is none any more."""
        if self._conversation is None:
            return
        look = look_of(self._conversation.connection)
        if look is not None:
            await look.doubt()
        else:
            await self._client.connection_pool.disconnect(inuse_connections=False)

    async def aclose(self) -> None:
        conversation, self._conversation = self._conversation, None
        if conversation is not None:
            await conversation.close()

    async def _usable(self) -> Conversation:
        """An open connection. One that Redis has closed meanwhile is given up before anything is sent over it.

        So is one whose master another connection has found to be none.
        """
        conversation = self._conversation
        if conversation is not None and conversation.is_open:
            look = look_of(conversation.connection)
            if look is None or not look.is_doubted():
                return conversation
        await self.aclose()
        # Known before it is open, so that whoever gives up half-way closes it.
        self._conversation = conversation = Conversation(self._client)
        await conversation.open()
        return conversation


async def _answers(conversation: Conversation, commands: Sequence[Command]) -> list[Any]:
    """The replies of a master. Raises `ReadOnlyError` when it is one no more, and then none of them counts."""
    look = look_of(conversation.connection)
    if look is None or not look.is_due():
        return await _converse(conversation, commands)
    role, *replies = await _converse(conversation, [look.question(), *commands])
    await look.judge(role)
    return replies


async def _converse(conversation: Conversation, commands: Sequence[Command]) -> list[Any]:
    conversation.send(b"".join([each if isinstance(each, bytes) else packed(each) for each in commands]))
    await conversation.drain()
    return await conversation.receive(len(commands))
