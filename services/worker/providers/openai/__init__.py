"""The OpenAI chat-completions dialect: requests, chunks, tool calls, errors."""

__all__ = ()
