"""What becomes of a stream in a worker's hands: claims, attempts, failures and what follows them."""

__all__ = ()
