"""Settings of all processes, from environment and file."""

__all__ = ()
