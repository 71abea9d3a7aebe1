"""The events of AG-UI, the protocol between agents and their user interfaces."""

__all__ = ()
