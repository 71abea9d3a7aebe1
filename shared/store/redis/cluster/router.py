"""Brings each command to the node that has its slot, and follows it when the slot has gone elsewhere.

redis-py's own cluster client repeats a command whose connection was lost, by itself and up to three times. Whether a
lost reply may be repeated is the caller's knowledge, so here is a map of slots over plain clients instead: what Redis
has refused (MOVED, ASK, TRYAGAIN, CLUSTERDOWN) it has not done, and only that is sent again.
"""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final, cast

from redis.asyncio import Redis

from shared.backoff import growing_s, jittered_s
from shared.errors import StoreBusy, StoreError, StoreUnavailable
from shared.store.redis.cluster.slots import Address, Redirect, SlotMap
from shared.store.redis.errors import mapping

__all__ = ("Router", "Send")

# Sends commands, given by their places, to a node; with `True` each of them after ASKING.
Send = Callable[[Address, Sequence[int], bool], Awaitable[Sequence[Any]]]

_DESCRIBE_S: Final = 1.0
# Redirections are followed at once, but no ring of them for ever.
_HOPS: Final = 3
_PAUSE_FIRST_S, _PAUSE_MOST_S = 0.005, 0.1
_NOBODY: Final[Address] = ("", 0)


class Router:
    """The nodes of a cluster, each with a client of its own, and the map of slots. Learns from every redirection."""

    def __init__(self, seeds: Sequence[Address], new_client: Callable[[Address], Redis]) -> None:
        self._seeds = tuple(seeds)
        self._new_client = new_client
        self._clients: dict[Address, Redis] = {}
        self._map: SlotMap | None = None
        self._is_doubtful = False
        # Did not answer of late, so they are asked last.
        self._suspects: set[Address] = set()
        # Was named by the last redirection, so it is asked first.
        self._informed: Address | None = None
        self._describing = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Router {self._map or 'no map yet'}{' in doubt' if self._is_doubtful else ''}>"

    def client(self, address: Address) -> Redis:
        """The client of one node."""
        if address not in self._clients:
            self._clients[address] = self._new_client(address)
        return self._clients[address]

    def anybody(self) -> Address:
        """Some node, also while nothing is known of the cluster."""
        known = self._map.masters if self._map else ()
        return self._choice(known) or self._choice(self._seeds) or self._seeds[0]

    async def masters(self) -> list[Redis]:
        """The clients of all masters."""
        return [self.client(address) for address in (await self.slots()).masters]

    async def slots(self) -> SlotMap:
        """The map; asked for anew when something spoke against it. Raises `StoreUnavailable` if there never was one."""
        found = self._map
        if found is not None and not self._is_doubtful:
            return found
        async with self._describing:
            if self._map is found:
                await self._describe()
        if self._map is None:
            raise StoreUnavailable("no node of the cluster answers")
        return self._map

    def doubt(self, address: Address | None = None) -> None:
        """Before the next command the map is asked for again, and not from this node if others answer."""
        self._is_doubtful = True
        if address is not None:
            self._suspects.add(address)

    def learn(self, redirect: Redirect) -> None:
        """The slot has another owner. Whoever says so knows better than a node that has yet to hear of it."""
        if self._map is not None and redirect.moved and redirect.address is not None:
            self._map = self._map.moved(redirect.slot, redirect.address)
            self._informed, self._is_doubtful = redirect.address, True

    async def route(self, slots: Sequence[int | None], send: Send, *, patience_s: float) -> list[Any]:
        """The replies in order; refusals and failures stand among them as exceptions.

        What is refused because its slot is on its way is sent again, with pauses, for `patience_s`.
        """
        replies: list[Any] = [None] * len(slots)
        deadline = asyncio.get_running_loop().time() + patience_s
        redirects: dict[int, Redirect | None] = dict.fromkeys(range(len(slots)))
        for hop in itertools.count():
            redirects = await self._send_round(slots, redirects, send, replies)
            if not redirects:
                break
            if hop >= _HOPS or any(each is None or each.address is None for each in redirects.values()):
                pause_s = jittered_s(growing_s(hop, first_s=_PAUSE_FIRST_S, most_s=_PAUSE_MOST_S))
                if asyncio.get_running_loop().time() + pause_s > deadline:
                    break
                await asyncio.sleep(pause_s)
        return replies

    async def aclose(self) -> None:
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.aclose()

    async def _send_round(
        self, slots: Sequence[int | None], waiting: Mapping[int, Redirect | None], send: Send, replies: list[Any]
    ) -> dict[int, Redirect | None]:
        """Send once what is waiting. Answers what is to be sent again."""
        redirects: dict[int, Redirect | None] = {}
        parcels = self._parcels(await self.slots(), slots, waiting)
        for place in parcels.pop((_NOBODY, False), ()):
            self.doubt()
            replies[place], redirects[place] = StoreBusy("no node serves this slot"), None

        async def deliver(address: Address, places: Sequence[int], *, is_asking: bool) -> None:
            for place, reply in zip(places, await self._sent(address, places, is_asking, send), strict=True):
                replies[place] = reply
                if (redirect := Redirect.of(reply, asked=address)) is not None:
                    redirects[place] = redirect
                    self._heed(redirect)

        if len(parcels) == 1:
            ((address, is_asking), places) = parcels.popitem()
            await deliver(address, places, is_asking=is_asking)
        elif parcels:
            async with asyncio.TaskGroup() as group:
                for (address, is_asking), places in parcels.items():
                    group.create_task(deliver(address, places, is_asking=is_asking))
        return redirects

    def _parcels(
        self, owners: SlotMap, slots: Sequence[int | None], waiting: Mapping[int, Redirect | None]
    ) -> dict[tuple[Address, bool], list[int]]:
        """The places of commands by node, and by whether ASKING goes before them."""
        parcels: dict[tuple[Address, bool], list[int]] = {}
        somebody = self.anybody()
        for place, why in waiting.items():
            slot = slots[place]
            owner = somebody if slot is None else owners.owners[slot] or _NOBODY
            ask = why.ask if why is not None else None
            parcels.setdefault((ask or owner, ask is not None), []).append(place)
        return parcels

    async def _sent(self, address: Address, places: Sequence[int], is_asking: bool, send: Send) -> Sequence[Any]:
        """The replies of one node, or its failure for each."""
        try:
            with mapping():
                return await send(address, places, is_asking)
        except StoreError as error:
            self.doubt(address)
            return [error] * len(places)

    def _heed(self, redirect: Redirect) -> None:
        if redirect.moved:
            self.learn(redirect)
        elif redirect.word == "CLUSTERDOWN":
            self.doubt()

    def _choice(self, nodes: Iterable[Address]) -> Address | None:
        usable = [node for node in nodes if node not in self._suspects]
        return random.choice(usable) if usable else None

    async def _describe(self) -> None:
        """Ask one node after the other, suspects last, until one describes the cluster. If none does, all stays."""
        known = (*self._map.masters, *self._map.replicas) if self._map else ()
        informed, self._informed = self._informed, None
        others = (*random.sample(known, len(known)), *self._seeds)
        nodes = dict.fromkeys((informed, *others) if informed is not None else others)
        for address in sorted(nodes, key=self._suspects.__contains__):
            try:
                with mapping():
                    async with asyncio.timeout(_DESCRIBE_S):
                        reply = await cast("Any", self.client(address)).execute_command("CLUSTER", "SLOTS")
            except StoreError as error:
                if not error.retryable:
                    raise
                continue
            if reply:
                self._map, self._is_doubtful = SlotMap.parse(reply, asked=address), False
                self._suspects.clear()
                return
