"""The appends of a worker on a cluster: a `RedisPipe` to each node."""

from collections.abc import Sequence
from typing import Any, Final

from shared.store.redis.cluster.router import Router
from shared.store.redis.cluster.slots import Address, slot_of
from shared.store.redis.pipe import Command, RedisPipe

__all__ = ("ClusterPipe",)

# Appends share a batch, so a slot that is on its way would hold up the streams of all others. Its own streams are told
# soon and come back by themselves. Whoever asks for nobody else can wait longer.
_PATIENCE_S: Final = 0.1


class ClusterPipe:
    """One connection to each node, opened when it is first needed. The nodes are asked at the same time."""

    def __init__(self, router: Router, *, patience_s: float = _PATIENCE_S) -> None:
        self._router = router
        self._patience_s = patience_s
        self._pipes: dict[Address, RedisPipe] = {}

    def __repr__(self) -> str:
        return f"<ClusterPipe {len(self._pipes)} nodes>"

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """The replies in order; refusals, and the failures of single nodes, stand among them as exceptions."""

        async def send(address: Address, places: Sequence[int], is_asking: bool) -> Sequence[Any]:
            asked = [commands[place] for place in places]
            if not is_asking:
                return await self._pipe(address).ask(asked)
            pairs: list[Command] = [word for command in asked for word in (("ASKING",), command)]
            return (await self._pipe(address).ask(pairs))[1::2]

        return await self._router.route([slot_of(command) for command in commands], send, patience_s=self._patience_s)

    async def aclose(self) -> None:
        for pipe in self._pipes.values():
            await pipe.aclose()

    def _pipe(self, address: Address) -> RedisPipe:
        if address not in self._pipes:
            self._pipes[address] = RedisPipe(self._router.client(address))
        return self._pipes[address]
