"""The master, as one Sentinel sees it."""

from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Final, Self, cast

from redis.asyncio import Redis

__all__ = ("Address", "Opinion", "opinion_of")

Address = tuple[str, int]

_DOWN: Final = ("is_sdown", "is_odown")


@dataclass(frozen=True, slots=True, order=True)
class Opinion:
    """The master of a configuration epoch: with each failover the epoch grows, so the largest one is the newest."""

    epoch: int
    address: Address
    is_down: bool = False

    @classmethod
    def of(cls, named: Any, state: Any) -> Self | None:
        """From the answers to GET-MASTER-ADDR-BY-NAME and MASTER. None if the Sentinel knows no such master.

        While a failover is under way the first already names the promoted replica, the second still the old master;
        then what it says of that one's health is not about the new one.
        """
        if not isinstance(state, dict) or not isinstance(named, tuple):
            return None
        address = (_text(named[0]), int(named[1]))
        is_about_it = (str(state.get("ip")), int(state.get("port", 0))) == address
        is_down = is_about_it and any(state.get(flag) for flag in _DOWN)
        return cls(int(state.get("config-epoch", 0)), address, is_down)


async def opinion_of(sentinel: "Redis", name: str) -> Opinion | None:
    """Ask one Sentinel. Raises what redis-py raises."""
    async with sentinel.pipeline(transaction=False) as pipe:
        pipe.sentinel_get_master_addr_by_name(name)  # type: ignore[no-untyped-call]
        pipe.sentinel_master(name)  # type: ignore[no-untyped-call]
        named, state = await cast("Awaitable[list[Any]]", pipe.execute(raise_on_error=False))
    if isinstance(named, Exception):
        raise named
    return Opinion.of(named, state)


def _text(word: str | bytes) -> str:
    return word.decode() if isinstance(word, bytes) else word
