"""The dialect of Anthropic's Messages API."""

__all__ = ()
