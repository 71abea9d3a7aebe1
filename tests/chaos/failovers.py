"""Failovers that nobody asked for: on a busy machine Sentinels take a slow master for a dead one.

They lose what any failover may lose, so the history has to know of them.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from tests.support.history import Record, Struck

__all__ = ("UNASKED", "unasked")

UNASKED: Final = "sentinels_by_themselves"
# The new master is promoted a second before it is announced; an old one that lives is made a replica 8 s later.
_BEFORE_NS: Final = 2_000_000_000
_AFTER_NS: Final = 10_000_000_000


def unasked(switched_ns: Sequence[int], records: Sequence[Record]) -> Iterator[Struck]:
    """For each change of the master outside of the faults that may lose something: a record as theirs are."""
    lossy = [record for record in records if isinstance(record, Struck) and record.loses]
    for at_ns in switched_ns:
        if not any(each.began_ns <= at_ns <= each.at_ns for each in lossy):
            over_ns, began_ns = at_ns + _AFTER_NS, at_ns - _BEFORE_NS
            yield Struck(over_ns, UNASKED, took_effect=True, said="no fault asked", loses=True, began_ns=began_ns)
