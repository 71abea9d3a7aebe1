"""Ways for bytes out of the edge: over a connection, its server, and the versions of HTTP."""

__all__ = ()
