"""The chat form of a request, read once for all dialects that have to translate it; nothing here knows a dialect."""

__all__ = ()
