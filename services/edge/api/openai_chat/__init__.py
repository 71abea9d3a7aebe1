"""OpenAI's chat completions API: its routes, requests, whole answers and errors."""

__all__ = ()
