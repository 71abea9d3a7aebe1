"""The readers of answers in JSON frames, shared by the dialects: cutting, parsing, ending, and making events."""

__all__ = ()
