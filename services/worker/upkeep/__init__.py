"""The background work for all streams: the budget, the sweeper, the care of the queue."""

__all__ = ()
