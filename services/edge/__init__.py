"""The edge: HTTP in front of the log. Stateless; any edge serves any stream at any cursor."""

__all__ = ()
