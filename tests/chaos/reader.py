"""A reader as users have it: follows a stream, loses its connection, comes back to any edge with its last id."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

from tests.chaos.door import Door
from tests.chaos.log import place
from tests.chaos.transcript import TERMINAL
from tests.support.history import Closed, History, Left, Opened, Received, Refused
from tests.support.sse_client import NDJSON, SSE, Answer, opened

__all__ = ("ChaosReader",)

# Silence longer than any heartbeat: the connection is dead, whatever the kernel thinks of it.
_SILENCE_S = 7.0
_ANSWER_S = 8.0
_RETRY_S = 0.1


class ChaosReader:
    """`leaving` is how likely it drops its connection after each event; `wire` is what it asks for."""

    def __init__(
        self,
        name: str,
        stream_id: str,
        doors: Callable[[], Sequence[Door]],
        history: History,
        chance: random.Random,
        *,
        leaving: float = 0.0,
        pause_s: float = 0.0,
    ) -> None:
        self.name = name
        self.stream_id = stream_id
        self.cursor: str | None = None
        self.outcome: str | None = None
        self.begun = asyncio.Event()
        self._doors = doors
        self._history = history
        self._chance = chance
        self._leaving = leaving
        self._pause_s = pause_s
        self._wire = chance.choice((SSE, NDJSON))

    def __repr__(self) -> str:
        return f"<ChaosReader {self.name} at {self.cursor}>"

    @property
    def offset(self) -> int:
        """How much of the log its cursor stands for."""
        where = place(self.cursor) if self.cursor else None
        return where.offset if where else 0

    async def run(self) -> None:
        while self.outcome is None:
            doors = self._doors()
            if doors:
                await self._connect(self._chance.choice(doors))
            if self.outcome is None:
                await asyncio.sleep(_RETRY_S * self._chance.uniform(0.5, 1.5))
        self._history.add(Left(self._history.now(), self.name, self.stream_id, self.outcome))

    async def _connect(self, door: Door) -> None:
        headers = {"accept": self._wire} | ({"last-event-id": self.cursor} if self.cursor else {})
        path = f"/v1/streams/{self.stream_id}/events"
        try:
            async with opened(door.port, "GET", path, headers=headers, within_s=_ANSWER_S, host=door.host) as answer:
                if answer.status == 200:
                    self._note(Opened, door, self.cursor)
                    why = await self._read(answer, door)
                    self._note(Closed, door, why)
                else:
                    await self._refused(answer, door)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return  # nobody there, or no answer: somewhere else, next time

    async def _read(self, answer: Answer, door: Door) -> str:
        items = answer.items()
        try:
            while True:
                async with asyncio.timeout(_SILENCE_S):
                    item = await anext(items, None)
                if item is None:
                    return "complete" if answer.is_complete else "cut"
                if item.data is not None:
                    self._take(item.id, item.data, door)
                    if self.outcome is None and self._chance.random() < self._leaving:
                        return "left"
                    if self._pause_s:
                        await asyncio.sleep(self._pause_s * self._chance.random())
        except TimeoutError:
            return "silent"
        finally:
            await items.aclose()  # type: ignore[attr-defined]

    async def _refused(self, answer: Answer, door: Door) -> None:
        if answer.status == 204:
            self.outcome = "nothing left"
            return
        body: Any = await answer.json()
        code = body.get("error", {}).get("code", "") if isinstance(body, dict) else ""
        self._note(Refused, door, answer.status, code)
        if answer.status in {404, 410}:
            self.outcome = "gone"
        elif answer.status < 500:
            self.outcome = f"refused {answer.status}"

    def _take(self, event_id: str | None, data: dict[str, Any], door: Door) -> None:
        self._note(Received, door, event_id, data)
        if event_id is not None:
            self.cursor = event_id
            self.begun.set()
        if data["type"] == "error" and event_id is None:
            self.outcome = "gone"
        elif data["type"] in TERMINAL:
            self.outcome = data["type"]

    def _note(self, kind: Callable[..., Any], door: Door, *rest: Any) -> None:
        self._history.add(kind(self._history.now(), self.name, self.stream_id, door.name, *rest))
