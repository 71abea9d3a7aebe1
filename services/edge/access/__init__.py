"""Rights and limits of callers: identity, admission and sizes; no HTTP routes."""

__all__ = ()
