"""Bytes on their way to a connection: the protocol of a carrier and one module for each kind; nothing about events."""

__all__ = ()
