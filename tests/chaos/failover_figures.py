"""`python -m tests.chaos.failover_figures`: what a failover by Sentinels costs, planned or not, careful or not.

Careful is `min-replicas-to-write 1`, with two replicas: with one, nobody could be written to while it is away.
Streams of ten seconds begin twice a second, each with a reader. Printed are how many ended well in one attempt, in
more, and not at all, and the longest silence of a reader around the failover.
"""

import argparse
import asyncio
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from tests.support.calls import ask, state
from tests.support.script import Script
from tests.support.sentinel import SentinelGroup
from tests.support.sse_client import Broken, History, Item, follow
from tests.support.stack import Stack, running_stack

__all__ = ()

_CAREFUL: Final = ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "10")
_CHUNKS, _RATE = 50, 5
_EVERY_S: Final = 0.5
_BEFORE_S, _AFTER_S = 10.0, 20.0


@dataclass(slots=True)
class Tally:
    """What became of the streams, and who was silent for how long."""

    endings: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    silences_s: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        longest = sorted(self.silences_s)
        silences = f"longest silence {longest[-1]:.1f} s, median {longest[len(longest) // 2]:.1f} s"
        return f"{dict(self.endings)}, {self.refused} creates refused, {silences}"


class _Hearing(History):
    """A reader's history that knows its longest silence."""

    def __init__(self, stream_id: str) -> None:
        super().__init__(stream_id)
        self.longest_s = 0.0
        self._heard_at = time.monotonic()

    def take(self, item: Item) -> None:
        super().take(item)
        if item.data is not None:
            now = time.monotonic()
            self.longest_s, self._heard_at = max(self.longest_s, now - self._heard_at), now


async def _stream(stack: Stack, number: int, tally: Tally) -> None:
    port = stack.ports[number % len(stack.ports)]
    try:
        stream_id = await ask(port, Script(f"figure-{number}-{time.time_ns()}", chunks=_CHUNKS, rate=_RATE))
    except (AssertionError, OSError):
        tally.refused += 1
        return
    heard = _Hearing(stream_id)
    with suppress(TimeoutError, Broken, OSError):
        await follow(stack.ports, stream_id, history=heard)
    tally.silences_s.append(heard.longest_s)
    tally.endings[await _ending(port, stream_id)] += 1


async def _ending(port: int, stream_id: str) -> str:
    try:
        found = await state(port, stream_id)
    except (AssertionError, OSError):
        return "gone"
    if found["status"] != "done":
        return str((found.get("error") or {}).get("code") or found["status"])
    return "done" if found["attempt"] == 1 else "done, again"


async def _measure(*, is_planned: bool, is_careful: bool) -> Tally:
    tally = Tally()
    async with SentinelGroup(replicas=2 if is_careful else 1, args=_CAREFUL if is_careful else ()) as group:
        with running_stack(redis_url=group.url, prefix="tailrace", edges=2, workers=2) as stack:
            async with asyncio.TaskGroup() as tasks:
                began, number, has_failed_over = time.monotonic(), 0, False
                while (elapsed_s := time.monotonic() - began) < _BEFORE_S + _AFTER_S:
                    if not has_failed_over and elapsed_s > _BEFORE_S:
                        has_failed_over = True
                        await _fail_over(group, is_planned=is_planned)
                    tasks.create_task(_stream(stack, number, tally))
                    number += 1
                    await asyncio.sleep(_EVERY_S)
    return tally


async def _fail_over(group: SentinelGroup, *, is_planned: bool) -> None:
    if is_planned:
        await group.fail_over()
        return
    master = await group.master()
    await asyncio.to_thread(master.kill)


async def _main(only: str) -> None:
    for is_planned in (True, False):
        for is_careful in (False, True):
            name = f"{'planned' if is_planned else 'unplanned'}{', careful' if is_careful else ''}"
            if only in name:
                tally = await _measure(is_planned=is_planned, is_careful=is_careful)
                sys.stdout.write(f"{name}: {tally}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="a part of a case's name")
    asyncio.run(_main(parser.parse_args().only))
