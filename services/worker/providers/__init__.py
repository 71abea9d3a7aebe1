"""Model providers: the protocol of a dialect, one folder for each dialect, and HTTP beneath them."""

__all__ = ()
