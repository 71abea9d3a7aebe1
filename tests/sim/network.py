"""What lies between a process and the store: it is slow, it loses requests and replies, and the process may be dead.

The store behind it is the one in memory, with the rules of Redis; here is how a real one can be out of reach.
"""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from shared.errors import StoreError, StoreFull, StoreReadOnly, StoreUnavailable
from shared.log.events import LogEntry
from shared.log.position import Position
from shared.store.calls import Compact
from shared.store.memory.store import MemoryStore
from shared.store.replies import Compacted
from shared.store.store import CancelListener, Store, Tailer

__all__ = ("Link", "Network")

T = TypeVar("T")


class Network:
    """The store and everybody's way to it. A failover cuts all connections at once.

    `met` counts which step was under way when an injection struck, and `trims` keeps how far each stream was trimmed:
    the end of a run knows only what is left of both. A step is a function of the store, or a read of the tail.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, chance: random.Random, *, delay_s: float) -> None:
        self.store = MemoryStore(clock=lambda: round(loop.time() * 1000))
        self.delay_s = delay_s
        self.loss = 0.0
        self.is_down = False
        self.is_full = False
        self.era = 0
        self.met: Counter[tuple[str, str]] = Counter()
        self.trims: defaultdict[str, set[int]] = defaultdict(set)
        self._chance = chance
        self._links: list[Link] = []
        self._awaited: list[tuple[str, asyncio.Future[Link]]] = []

    def fail_over(self) -> None:
        """Whoever was talking to the old master is cut off."""
        self.era += 1

    async def reached(self, step: str, *, within_s: float) -> "Link | None":
        """Who takes this step next: it is done, and the answer not yet on its way. None if nobody does in time."""
        reached: asyncio.Future[Link] = asyncio.get_running_loop().create_future()
        self._awaited.append((step, reached))
        try:
            async with asyncio.timeout(within_s):
                return await reached
        except TimeoutError:
            return None

    def reach(self, step: str, link: "Link") -> None:
        """Tell whoever waits for this step."""
        for awaited, reached in self._awaited:
            if awaited == step and not reached.done():
                reached.set_result(link)
        self._awaited = [each for each in self._awaited if not each[1].done()]

    def note_trim(self, stream_id: str, offset: int) -> None:
        if offset not in self.trims[stream_id]:
            self.trims[stream_id].add(offset)
            self.strikes("trim")

    def strikes(self, injection: str, link: "Link | None" = None) -> None:
        """Count what an injection meets: the steps of one process, or of everybody."""
        for each in [link] if link else self._links:
            self.met.update((injection, step) for step in each.under_way)

    def link(self, name: str) -> "Link":
        link = Link(self, name, random.Random(self._chance.random()))
        self._links.append(link)
        return link


class Link:
    """One process's connection. `kill` silences the process for ever, `freeze` until `thaw`."""

    def __init__(self, network: Network, name: str, chance: random.Random) -> None:
        self.name = name
        self.is_dead = False
        self.under_way: list[str] = []
        self._network = network
        self._chance = chance
        self._running = asyncio.Event()
        self._running.set()

    def __repr__(self) -> str:
        state = "dead" if self.is_dead else "running" if self._running.is_set() else "frozen"
        return f"<Link {self.name} {state}>"

    @property
    def store(self) -> Store:
        """The store as this process sees it."""
        return cast("Store", _Remote(self))

    def kill(self) -> None:
        self._network.strikes("crash", self)
        self.is_dead = True
        self.under_way.clear()

    def freeze(self) -> None:
        self._running.clear()

    def thaw(self) -> None:
        self._running.set()

    async def ask(self, function: Callable[..., Awaitable[T]], *args: Any, **options: Any) -> T:
        step = function.__name__.lstrip("_")
        self.under_way.append(step)
        try:
            return await self._asked(function, step, *args, **options)
        finally:
            if step in self.under_way:
                self.under_way.remove(step)

    async def _asked(self, function: Callable[..., Awaitable[T]], step: str, *args: Any, **options: Any) -> T:
        era = self._network.era
        await self._travel(era)
        if self._network.is_full and step in _REFUSED_WHEN_FULL:
            raise StoreFull("OOM command not allowed when used memory > 'maxmemory'.")
        try:
            answer = await function(*args, **options)
        except StoreError:
            await self._travel(era)
            raise
        if step == "compact":
            self._watch_trims(args[0], answer)
        self._network.reach(step, self)
        try:
            await self._travel(era)
        except StoreUnavailable:
            self._network.met["lost_reply", step] += 1
            raise
        return answer

    def _watch_trims(self, calls: Sequence[Compact], answers: Any) -> None:
        for call, answer in zip(calls, answers, strict=True):
            if isinstance(answer, Compacted) and answer.trimmed:
                self._network.note_trim(call.id, answer.trimmed)

    async def _travel(self, era: int) -> None:
        if self._is_silent:
            await self.alive()
        await asyncio.sleep(self._network.delay_s * self._chance.expovariate(1))
        if self._is_silent:
            await self.alive()
        if self._network.is_down or self._chance.random() < self._network.loss:
            raise StoreUnavailable("Connection reset by peer")
        if era != self._network.era:
            raise StoreReadOnly("UNBLOCKED force unblock from blocking operation, instance state changed")

    @property
    def _is_silent(self) -> bool:
        return self.is_dead or not self._running.is_set()

    async def alive(self) -> None:
        """A dead process never hears of anything again; a frozen one when it goes on."""
        if self.is_dead:
            await asyncio.get_running_loop().create_future()
        await self._running.wait()


# As Redis does it: what takes memory is refused, what ends or frees something is not.
_REFUSED_WHEN_FULL = frozenset({"create", "claim", "append"})


class _Remote:
    """`Store` over a link: every method of the store in memory, made late and unreliable."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        function = getattr(self._link._network.store, name)

        async def ask(*args: Any, **options: Any) -> Any:
            return await self._link.ask(function, *args, **options)

        return ask

    def tailer(self) -> Tailer:
        return _RemoteTailer(self._link, self._link._network.store.tailer())

    def cancellations(self) -> CancelListener:
        return _RemoteCancels(self._link, self._link._network.store.cancellations())

    async def aclose(self) -> None:
        return None


class _RemoteTailer:
    """`Tailer` over a link. A blocked read of the old master ends with an error, at the latest when its time is up."""

    def __init__(self, link: Link, tailer: Tailer) -> None:
        self._link = link
        self._tailer = tailer

    async def read(
        self, cursors: Mapping[str, Position], *, count: int, block_ms: int | None
    ) -> Mapping[str, Sequence[LogEntry]]:
        return await self._link.ask(self._tail, cursors, count=count, block_ms=block_ms)

    async def _tail(
        self, cursors: Mapping[str, Position], *, count: int, block_ms: int | None
    ) -> Mapping[str, Sequence[LogEntry]]:
        return await self._tailer.read(cursors, count=count, block_ms=block_ms)

    async def interrupt(self) -> None:
        await self._tailer.interrupt()

    async def aclose(self) -> None:
        await self._tailer.aclose()


class _RemoteCancels:
    """`CancelListener` over a link; messages are lost as pub/sub loses them."""

    def __init__(self, link: Link, listener: CancelListener) -> None:
        self._link = link
        self._listener = listener

    async def next(self) -> str:
        return await self._link.ask(self._listener.next)

    async def aclose(self) -> None:
        await self._listener.aclose()
