"""The store on Redis: commands, replies, connections and their errors."""

__all__ = ()
