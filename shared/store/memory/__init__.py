"""The same store in memory, for tests and simulation."""

__all__ = ()
