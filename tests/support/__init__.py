"""Real servers to test against, and the few words that tests share."""

__all__ = ()
