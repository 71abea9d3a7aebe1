"""The calls of a store, every answer, and pure functions over both; the stores are in `redis` and `memory`."""

__all__ = ()
