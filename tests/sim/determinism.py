"""What Python leaves to the clock, to chance and to addresses, taken from a schedule instead."""

import contextlib
import random
import secrets
import time
from collections.abc import Iterator
from unittest import mock

from services.edge.delivery.reader import Reader
from tests.sim.clockwork import VirtualLoop

__all__ = ("made_up",)


@contextlib.contextmanager
def made_up(loop: VirtualLoop, seed: int) -> Iterator[None]:
    """Clock and chance of the standard library come from the schedule.

    Sets of readers are in the order of their hashes, which are addresses by default; with numbers they repeat it.
    """
    chance, state, numbered = random.Random(seed), random.getstate(), _Numbered()
    random.seed(seed)
    try:
        with (
            mock.patch.object(time, "monotonic", loop.time),
            mock.patch.object(secrets, "token_hex", lambda n: chance.randbytes(n).hex()),
            mock.patch.object(secrets, "token_bytes", chance.randbytes),
            mock.patch.object(Reader, "__hash__", lambda reader: numbered.number(reader)),
        ):
            yield
    finally:
        random.setstate(state)


class _Numbered:
    """Numbers for objects in the order in which they are first asked for."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, object]] = {}

    def number(self, each: object) -> int:
        # The object is kept too, or its address could be given to another one.
        return self._known.setdefault(id(each), (len(self._known), each))[0]
