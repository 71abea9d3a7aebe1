"""The chat page in a real Chromium, in front of the real broker."""

__all__ = ()
