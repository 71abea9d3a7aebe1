"""Who may do what and how much: callers, admission and limits; no HTTP routes."""

__all__ = ()
