"""The OpenAI chat-completions dialect: its request, its frames, its errors; no sockets and no clock."""

__all__ = ()
