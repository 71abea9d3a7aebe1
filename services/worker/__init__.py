"""The writers: they pull completions from providers and append them to streams."""

__all__ = ()
