"""How bytes reach a connection: the protocol of a carrier and one module for each kind; nothing about events."""

__all__ = ()
