"""OpenAI's Responses API."""

__all__ = ()
