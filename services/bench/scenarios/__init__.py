"""What is measured, one scenario a module."""

__all__ = ()
