"""`tailrace bench`: what this machine costs per event, measured against the price of the kernel alone, and peers."""

__all__ = ()
