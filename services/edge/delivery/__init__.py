"""From the tail of Redis to readers: feeds, batches, live readers; nothing about how events look on a wire."""

__all__ = ()
