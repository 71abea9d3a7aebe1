"""The worker and the edge against the store in memory, in virtual time, under a seeded schedule of faults."""

__all__ = ()
