"""redis-py's commands on a Redis Cluster: each goes to the node of its slot, some to every master.

Only what `RedisStore` uses is meant to work: commands with one key or with keys of one slot, pipelines that are no
transactions, and the few below.
"""

from collections.abc import Awaitable, Sequence
from typing import Any, Final, cast

import redis.exceptions as rx
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline, PubSub

from shared.store.redis.cluster.router import Router
from shared.store.redis.cluster.slots import Address, slot_of
from shared.store.state import evicts

__all__ = ("PATIENCE_S", "ClusterClient")

# How long a command waits for a slot that is on its way from one node to another, before its caller is told.
PATIENCE_S: Final = 1.0


class ClusterClient(Redis):
    """A client without a connection of its own. `router` has those of the nodes; `aclose` ends them all."""

    def __init__(self, router: Router) -> None:
        super().__init__()
        self.router = router

    def __repr__(self) -> str:
        return f"<ClusterClient {self.router!r}>"

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        await self.router.aclose()

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> "ClusterPipeline":
        if transaction:
            raise NotImplementedError("transactions over slots are impossible, and nothing here needs one")
        return ClusterPipeline(self, self.router)

    def pubsub(self, **options: Any) -> PubSub:
        """On any node: what is published on one is told by all."""
        return self.router.client(self.router.anybody()).pubsub(**options)

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        async with self.pipeline(transaction=False) as pipe:
            pipe.execute_command(*args, **options)
            (reply,) = await pipe.execute(raise_on_error=False)
        if isinstance(reply, Exception):
            raise reply
        return reply

    # What is about more than one node

    async def exists(self, *names: Any) -> int:
        """Asked slot by slot. Of a slot that is on its way some keys are here and some there: then key by key."""
        groups: dict[int | None, list[Any]] = {}
        for name in names:
            groups.setdefault(slot_of(("EXISTS", name)), []).append(name)
        replies = await self._counts(list(groups.values()), patience_s=0)
        torn = [names for names, reply in zip(groups.values(), replies, strict=True) if isinstance(reply, Exception)]
        replies += await self._counts([[name] for names in torn for name in names], patience_s=PATIENCE_S)
        for reply in replies[len(groups) :]:
            if isinstance(reply, Exception):
                raise reply
        return sum(reply for reply in replies if isinstance(reply, int))

    async def info(self, section: str | None = None, *args: Any, **options: Any) -> dict[str, Any]:
        """Return the information of one master, with the memory of all."""
        return merged([await master.info(section, *args, **options) for master in await self.router.masters()])

    async def time(self, **options: Any) -> tuple[int, int]:
        """The latest of the masters' clocks. What is then found too early its own node refuses; nothing is too late."""
        times: list[tuple[int, int]] = [await master.time(**options) for master in await self.router.masters()]
        return max(times)

    async def function_load(self, code: str, replace: bool | None = False) -> Any:
        """On every master. Refused as by one Redis, if all of them have it."""
        answers = [await _loaded(master, code, replace=replace) for master in await self.router.masters()]
        found = [answer for answer in answers if not isinstance(answer, Exception)]
        if found:
            return found[0]
        raise answers[0]

    async def function_list(self, library: str | None = "*", withcode: bool | None = False) -> list[Any]:
        """Return the functions of the master that has the fewest."""
        masters = cast("list[Any]", await self.router.masters())
        lists: list[list[Any]] = [await master.function_list(library, withcode) for master in masters]
        return min(lists, key=len)

    async def _counts(self, groups: Sequence[Sequence[Any]], *, patience_s: float) -> list[Any]:
        async with ClusterPipeline(self, self.router, patience_s=patience_s) as pipe:
            for names in groups:
                pipe.exists(*names)
            return await pipe.execute(raise_on_error=False)


class ClusterPipeline(Pipeline):
    """Commands of many slots. To each node goes one pipeline, to all of them at once."""

    def __init__(self, client: ClusterClient, router: Router, *, patience_s: float = PATIENCE_S) -> None:
        super().__init__(client.connection_pool, client.response_callbacks, transaction=False, shard_hint=None)
        self._router = router
        self._patience_s = patience_s

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        stack, self.command_stack = self.command_stack, []

        async def send(address: Address, places: Sequence[int], is_asking: bool) -> Sequence[Any]:
            async with self._router.client(address).pipeline(transaction=False) as pipe:
                for place in places:
                    if is_asking:
                        pipe.execute_command("ASKING")
                    args, options = stack[place]
                    pipe.execute_command(*args, **options)
                replies: list[Any] = await pipe.execute(raise_on_error=False)
            return replies[1::2] if is_asking else replies

        slots = [slot_of(args) for args, _ in stack]
        replies = await self._router.route(slots, send, patience_s=self._patience_s)
        for reply in replies if raise_on_error else ():
            if isinstance(reply, Exception):
                raise reply
        return replies


def merged(infos: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The memory of all masters as if it were that of one.

    A stream cannot go from a full master to an empty one. So what is free is what the fullest has left, times their
    number; on masters of equal size, equally filled, the limit is then the sum of theirs.
    """
    found = dict(infos[0])
    if "used_memory" in found:
        used = sum(int(info["used_memory"]) for info in infos)
        left = [int(info["maxmemory"]) - int(info["used_memory"]) for info in infos if int(info["maxmemory"])]
        found |= {"used_memory": used, "maxmemory": max(used + len(infos) * min(left), 1) if left else 0}
        evicting = [info["maxmemory_policy"] for info in infos if evicts(info["maxmemory_policy"])]
        found |= {"maxmemory_policy": evicting[0]} if evicting else {}
    return found


async def _loaded(master: Redis, code: str, *, replace: bool | None) -> Any:
    try:
        return await cast("Awaitable[Any]", master.function_load(code, replace))
    except rx.ResponseError as error:
        if "already exists" not in str(error):
            raise
        return error
