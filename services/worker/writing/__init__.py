"""From events to appended entries: writers, the appender, compaction, leases, cancels."""

__all__ = ()
