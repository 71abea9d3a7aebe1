"""The work on one stream: claims, attempts, failures and what follows them."""

__all__ = ()
