"""What workers do for all in the background: the budget, the sweeper, the care of the queue."""

__all__ = ()
