"""A master found through Sentinels: what they say of it, and connections that leave when they name another one."""

__all__ = ()
