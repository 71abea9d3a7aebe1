"""The dialect of Ollama's own API."""

__all__ = ()
