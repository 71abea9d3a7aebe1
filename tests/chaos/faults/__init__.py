"""Faults by what they strike. Each is named by its row of the fault table, and lifts itself."""

__all__ = ()
