"""Events as they look on a connection: one module for each wire; nothing about sockets or Redis."""

__all__ = ()
