"""The Responses API: its numbers, its requests, and its own SDK on it."""

__all__ = ()
