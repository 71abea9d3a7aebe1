"""The events of OpenAI's Responses API."""

__all__ = ()
