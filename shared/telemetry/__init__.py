"""What a process tells its operator: log lines and metrics."""

__all__ = ()
