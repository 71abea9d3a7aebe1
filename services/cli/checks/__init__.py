"""What `tailrace doctor` looks at: pure judgements over what was found, and the little that asks."""

__all__ = ()
