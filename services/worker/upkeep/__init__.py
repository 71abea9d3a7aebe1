"""What workers do for all streams in the background: the budget and the sweeper."""

__all__ = ()
