"""HTTP to providers on aiohttp: session, bodies, server-sent events, deadlines; nothing about what they mean."""

__all__ = ()
