"""Anthropic's Messages API: its routes, requests, whole answers and errors."""

__all__ = ()
