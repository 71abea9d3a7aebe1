"""The log of one stream as pure data: positions, events, lineage, slicing, keys; no input or output."""

__all__ = ()
