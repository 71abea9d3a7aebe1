"""The sources of text: the interface, what all dialects share, and one folder for each dialect; no log, no store."""

__all__ = ()
