"""The documentation is true: what it lists exists, what exists is listed, and its commands run."""

__all__ = ()
