"""Load generators, one process each: `python -m services.bench.agents.NAME`, told what to do over its input."""

__all__ = ()
