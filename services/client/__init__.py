"""The Python client: reading streams over HTTP from any of several edges; it knows nothing of the server's code."""

__all__ = ()
