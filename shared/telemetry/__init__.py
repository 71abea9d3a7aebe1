"""Log lines and metrics: the ways in which a process tells its operator."""

__all__ = ()
