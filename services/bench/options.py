"""The size of a measurement. `TINY` is for the test suite: everything happens, nothing is proven."""

from dataclasses import dataclass
from typing import Final

__all__ = ("PEERS", "TINY", "Options")

PEERS: Final = ("asgi", "nchan")


@dataclass(frozen=True, slots=True)
class Options:
    """`runs` of `seconds` each after a warm-up; `scale` multiplies readers, streams and repetitions.

    `dialect`: what the provider of `pull` speaks.
    """

    runs: int = 3
    seconds: float = 6.0
    warm_up_s: float = 2.0
    scale: float = 1.0
    peers: tuple[str, ...] = PEERS
    cases: tuple[str, ...] = ()
    dialect: str = "openai"

    def scaled(self, number: int) -> int:
        return max(round(number * self.scale), 1)

    def wants(self, case: str) -> bool:
        return not self.cases or case in self.cases


TINY: Final = Options(runs=1, seconds=0.3, warm_up_s=0.1, scale=0.02, peers=("asgi",))
