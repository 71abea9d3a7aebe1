"""Who may do what, and from where."""

__all__ = ()
