"""The scenarios, one a module."""

__all__ = ()
