"""The places for streams on one worker."""

import asyncio

__all__ = ("Room",)


class Room:
    """Counts places; whoever finds none can wait for one."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._is_some = asyncio.Event()
        self._is_some.set()

    def __repr__(self) -> str:
        return f"<Room free={self._free}>"

    @property
    def free(self) -> int:
        return self._free

    def take(self) -> None:
        """Take a place. There may be none left for a moment: a job that was begun is not turned away."""
        self._free -= 1
        if self._free <= 0:
            self._is_some.clear()

    def give_back(self) -> None:
        self._free += 1
        if self._free > 0:
            self._is_some.set()

    async def some(self) -> None:
        """Wait until there is a place."""
        await self._is_some.wait()
