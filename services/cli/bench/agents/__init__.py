"""Load generators, one process each: `python -m services.cli.bench.agents.NAME SPECIFICATION`."""

__all__ = ()
