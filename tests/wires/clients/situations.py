"""The situations, each played for all clients at once on one stack, the workers' deaths last."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from shared.log import events
from shared.log.keys import Keyspace
from shared.store.calls import Compact
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from tests.support.calls import ask, cancel, state
from tests.support.script import Fault, Script, steps
from tests.support.stack import MODEL, Stack
from tests.support.streams import append, begin, nonce
from tests.support.waiting import eventually
from tests.wires.clients.front import Front
from tests.wires.clients.running import Program
from tests.wires.clients.table import Cell

__all__ = ("STACK", "Play", "play_all", "script_for")

# Leases are so short that a dead worker is soon replaced, yet not lost on a busy machine; each answer has some beats.
STACK: Final[dict[str, Any]] = {
    "lease_s": 3,
    "heartbeat_s": 0.5,
    "sweep_s": 0.3,
    "fold_bytes": 1024,
    "edge_heartbeat_s": 0.3,
    "edge_drain_s": 1,
    "continuation": "prefill",
}
WITHIN_S: Final = 90.0
# All programs start at once, with a first short answer; a framework can take its time then.
_STARTING_S: Final = 45.0
CUTS: Final = 20
_AT_ONCE: Final = 30
_KILLED: Final = ("killed, continue", "killed, restart")
# Chunks after which something happens: in the middle of the text, whatever is a third of it all.
_SOME: Final = 175
_TOLD: Final = 40


def script_for(cell: Cell) -> Script:
    """What the provider says to this client."""
    mixed: dict[str, Any] = {"kinds": "mixed", "rate": 60}
    match cell.situation:
        case "warm":
            return Script(cell.key, chunks=6, kinds="mixed")
        case "uninterrupted" | "nothing active":
            return Script(cell.key, chunks=90, **mixed)
        case "cuts":
            return Script(cell.key, chunks=240, **mixed)
        case "drain":
            return Script(cell.key, chunks=600, **mixed)
        case "folding":
            return Script(cell.key, chunks=240, piece_bytes=60, **mixed)
        case "killed, continue" | "killed, restart":
            return Script(cell.key, chunks=420, kinds="mixed", rate=40, vary=cell.situation == "killed, restart")
        case "gap":
            return Script(cell.key, chunks=300, kinds="mixed")
        case "error first":
            return Script(cell.key, fault=Fault("status", status=400), **mixed)
        case "error later":
            return Script(cell.key, chunks=90, fault=Fault("error_frame", after=_TOLD), **mixed)
        case "cancelled":
            return Script(cell.key, chunks=1200, **mixed)
        case other:
            raise ValueError(f"unknown situation: {other}")


class Play:
    """One cell while it is played."""

    def __init__(self, cell: Cell, stack: Stack, store: RedisStore, program: Program) -> None:
        self.cell = cell
        self.script = script_for(cell)
        self.stream: str | None = None
        self.result: dict[str, Any] = {}
        self.front: Front | None = None
        self._stack = stack
        self._store = store
        self._program = program
        self._options: dict[str, Any] = {}
        if cell.situation in _KILLED:
            self._options["on_interruption"] = cell.situation.removeprefix("killed, ")

    async def run(self) -> None:
        async with self._front() as front:
            if self.cell.follows:
                self.stream = await self._begun()
            playing = asyncio.create_task(self._program.play(self._case(front), within_s=self._within_s))
            beside = asyncio.create_task(self._beside(front))
            self.front = front
            try:
                result = await playing
            finally:
                beside.cancel()
                failure = (await asyncio.gather(beside, return_exceptions=True))[0]
            self.result = result | {"connections": front.connections, "cut": front.cut, "statuses": front.statuses}
            if isinstance(failure, Exception):
                self.result["error"] = f"the situation did not come about: {failure!r}"

    @property
    def _within_s(self) -> float:
        return WITHIN_S + (_STARTING_S if self.cell.situation == "warm" else 0)

    @property
    def is_reading(self) -> bool:
        """Whether its client has been answered."""
        return self.front is not None and bool(self.front.statuses)

    def _case(self, front: Front) -> dict[str, Any]:
        return {
            "case": self.cell.situation,
            "url": front.url,
            "stream": self.stream,
            "question": self.script.prompt(),
            "model": MODEL,
            "options": self._options,
            "until": "end" if self.cell.situation == "nothing active" else None,
        }

    def _front(self) -> Front:
        first, second, other = self._stack.edges[0].port, self._stack.edges[1].port, self._stack.plain.port
        chance = random.Random(self.cell.key)
        size = self.cell.program.get("cut_bytes", 350)
        match self.cell.situation:
            case "cuts":
                cuts = [chance.randint(size // 8, 2 * size - size // 8) for _ in range(CUTS)]
                return Front([first, other], cuts=cuts)
            case "folding":
                cuts = [chance.randint(size, 3 * size) for _ in range(6)]
                return Front([first, other], cuts=cuts, hold_s=0.4)
            case "drain":
                return Front([second, first])
            case _:
                return Front([first, other])

    async def _begun(self) -> str:
        port = self._stack.edges[0].port
        if self.cell.situation == "gap":
            return await _trimmed(self._store, self.script)
        stream_id = await ask(port, self.script, **self._options)
        if self.cell.situation == "nothing active":
            await eventually(lambda: self._is_over(stream_id), within_s=30, every_s=0.1)
        return stream_id

    async def _is_over(self, stream_id: str) -> bool:
        return bool((await state(self._stack.edges[0].port, stream_id))["status"] == "done")

    async def _beside(self, front: Front) -> None:
        """What happens while the client reads."""
        if self.cell.situation == "cancelled":
            await _until_told([self], self._stack, _TOLD)
            stream_id = self.stream or front.stream
            assert stream_id is not None, "no answer named its stream"
            await cancel(self._stack.edges[0].port, stream_id)


async def _trimmed(store: RedisStore, script: Script) -> str:
    """A finished stream of which the beginning is gone. It ends with text, so that what is left is that."""
    stream_id = await begin(store, tenant="public")
    tail = 0
    for step in steps(script):
        if step.kind == "tool_call":
            break
        event = events.delta(step.kind, step.text)
        await append(store, stream_id, [event], tail=tail)
        tail += event.size
    await store.compact([Compact(stream_id, nonce(1), block_bytes=200, max_bytes=2500)])
    await append(store, stream_id, [events.done("stop")], tail=tail)
    return stream_id


@asynccontextmanager
async def _programs(cells: Sequence[Cell], folder: Path) -> AsyncIterator[dict[str, Program]]:
    async with AsyncExitStack() as stack:
        programs = {}
        for cell in cells:
            if cell.client not in programs:
                programs[cell.client] = program = Program(cell.client, cell.program, folder)
                stack.push_async_callback(program.aclose)
        yield programs


async def play_all(cells: Sequence[Cell], stack: Stack, folder: Path) -> dict[Cell, Play]:
    """Play these cells, and return each with its result."""
    store = RedisStore(open_client(stack.settings["redis_url"]), Keyspace(stack.settings["prefix"]))
    try:
        async with _programs(cells, folder) as programs:
            plays = [Play(cell, stack, store, programs[cell.client]) for cell in cells]
            drained = [play for play in plays if play.cell.situation == "drain"]
            killed = [play for play in plays if play.cell.situation in _KILLED]
            rest = [play for play in plays if play not in {*drained, *killed}]
            # A first answer for each, so that all have started and keep step.
            first = {play.cell.client: replace(play.cell, situation="warm") for play in [*drained, *killed, *rest]}
            await _all([Play(cell, stack, store, programs[cell.client]) for cell in first.values()])
            await asyncio.gather(_all(rest), _drain(drained, stack))
            await _kill(killed, stack)
    finally:
        await store.aclose()
    return {play.cell: play for play in plays}


async def _all(plays: Sequence[Play]) -> None:
    """Play them, so many at a time that a small machine keeps step. One that fails to come about is that cell alone."""
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(play: Play) -> None:
        async with turns:
            try:
                await play.run()
            except (TimeoutError, OSError, AssertionError) as failure:
                play.result = {"error": f"the situation did not come about: {failure!r}"}

    await asyncio.gather(*map(one, plays))


async def _drain(plays: Sequence[Play], stack: Stack) -> None:
    """End the edge that all of them read from."""
    if not plays:
        return
    running = asyncio.create_task(_all(plays))
    await _until_told(plays, stack, _TOLD)
    await asyncio.to_thread(stack.edges[1].terminate)
    await running


async def _kill(plays: Sequence[Play], stack: Stack) -> None:
    """Kill the worker of all of them, and start one in its place."""
    if not plays:
        return
    running = asyncio.create_task(_all(plays))
    await _until_told(plays, stack, _SOME)
    stack.workers[0].kill()
    await asyncio.to_thread(stack.workers[0].start)
    await running


async def _until_told(plays: Sequence[Play], stack: Stack, chunks: int) -> None:
    """Wait until all of them are being read, and the provider has said so much to each."""

    async def told() -> bool:
        if not all(play.is_reading for play in plays):
            return False
        seen = await asyncio.to_thread(stack.provider.seen)
        return {play.script.key for play in plays} <= {one["key"] for one in seen if one["chunks"] >= chunks}

    # Who did not even ask has failed already; the others need not.
    with suppress(TimeoutError):
        await eventually(told, within_s=WITHIN_S / 2, every_s=0.25)
