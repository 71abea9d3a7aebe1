"""The checks of `tailrace doctor`: pure judgements over what was found, and the little that asks."""

__all__ = ()
