"""Everything `tailrace up` finds and starts on this machine: Redis, the model, and the processes around them."""

__all__ = ()
