"""The command `tailrace`: the composition root, which builds the processes and knows how to run them together."""

__all__ = ()
