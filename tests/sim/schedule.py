"""What a seed stands for: how many of everything, how fast, and which faults strike when.

Each schedule uses a few kinds of faults only: in a storm of all kinds at once, most would never meet a stream at work.
"""

import random
from dataclasses import dataclass, field
from typing import Final, Self

from shared.store.calls import Interruption
from tests.support.script import Script

__all__ = ("FAULTS", "INJECTIONS", "STEPS", "Planned", "Schedule", "StreamPlan")

FAULTS: Final = (
    "crash_worker",
    "freeze_worker",
    "drain_worker",
    "crash_edge",
    "freeze_edge",
    "drain_edge",
    "store_down",
    "lost_replies",
    "store_full",
    "fail_over",
    "lose_tail",
    "lose_jobs",
    "cancel",
    "delete",
    "expire",
    "trim",
)
# What a fault can do to a step that is under way, and the steps that a stream's life is made of.
INJECTIONS: Final = ("crash", "lost_reply", "lost_tail", "expiry", "trim")
STEPS: Final = ("create", "claim", "append", "heartbeat", "compact", "read", "tail")
_POLICIES: tuple[Interruption | None, ...] = ("continue", "restart", None)


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault: when, how long, and a number that chooses its victim. With a `step` it waits to meet this one."""

    at_s: float
    fault: str
    lasts_s: float
    victim: int
    step: str | None = None


@dataclass(frozen=True, slots=True)
class StreamPlan:
    script: Script
    policy: Interruption | None
    at_s: float
    readers: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything that is decided before a simulation begins. Times are seconds of the simulation."""

    seed: int
    workers: int
    edges: int
    delay_s: float
    loss: float
    pace_s: float
    provider_failing: float
    leaving: float
    slowness_s: float
    max_stream_bytes: int
    streams: tuple[StreamPlan, ...]
    faults: tuple[Planned, ...] = field(default=())

    @classmethod
    def of(cls, seed: int) -> Self:
        chance = random.Random(seed)
        kinds = chance.sample(FAULTS, chance.randint(1, 4))
        return cls(
            seed=seed,
            workers=chance.choice((1, 2, 2, 3)),
            edges=chance.choice((1, 2, 2)),
            delay_s=chance.choice((0.0005, 0.002, 0.02)),
            loss=chance.choice((0, 0, 0, 0.02, 0.1)),
            pace_s=chance.choice((0.1, 0.3, 0.6)),
            provider_failing=chance.choice((0, 0, 0, 0.05)),
            leaving=chance.choice((0, 0.05, 0.3)),
            slowness_s=chance.choice((0, 0.01, 0.2)),
            max_stream_bytes=chance.choice((1_000_000, 1_000_000, 1_000_000, 450)),
            streams=tuple(_stream(chance, seed, n) for n in range(chance.choice((1, 1, 2)))),
            faults=tuple(sorted((_fault(chance, kinds) for _ in range(chance.randint(1, 4))), key=lambda f: f.at_s)),
        )


def _stream(chance: random.Random, seed: int, number: int) -> StreamPlan:
    script = Script(f"{seed:x}.{number}", chunks=chance.randint(3, 16), vary=True)
    return StreamPlan(script, chance.choice(_POLICIES), chance.uniform(0, 0.5), chance.randint(1, 3))


def _fault(chance: random.Random, kinds: list[str]) -> Planned:
    fault, step = chance.choice(kinds), chance.choice((None, chance.choice(STEPS)))
    # Streams are created at the beginning, and so early nothing can be trimmed yet.
    until_s = 0.5 if step == "create" and fault != "trim" else 3
    return Planned(chance.uniform(0, until_s), fault, chance.choice((0.05, 0.5, 2, 6)), chance.randrange(12), step)
