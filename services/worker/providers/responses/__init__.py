"""The dialect of OpenAI's Responses API."""

__all__ = ()
