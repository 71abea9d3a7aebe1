"""The rights that Redis grants a process, and the proof that they suffice."""

__all__ = ()
