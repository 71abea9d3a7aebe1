"""The contract of edge and worker: events, positions, keys, the store, settings, errors, telemetry."""

__all__ = ()
