"""What Redis grants a process: its rights, and the proof that they suffice."""

__all__ = ()
