"""The pages that an edge serves to browsers, and their headers."""

__all__ = ()
