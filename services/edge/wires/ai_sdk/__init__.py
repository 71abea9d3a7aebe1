"""The UI message stream of the AI SDK, as `useChat` reads it."""

__all__ = ()
