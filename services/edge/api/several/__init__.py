"""Several streams on one connection."""

__all__ = ()
