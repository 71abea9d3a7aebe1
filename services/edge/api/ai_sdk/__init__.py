"""The API of the AI SDK's chat transports, which `useChat` speaks with `/api/chat`."""

__all__ = ()
