"""The processes of Tailrace: edge, worker, the pages they serve, and the command that starts them."""

__all__ = ()
