"""What edge and worker agree on: events, positions, keys, the store, settings, errors, telemetry."""

__all__ = ()
