"""AG-UI: its route, requests and errors."""

__all__ = ()
