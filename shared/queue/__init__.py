"""Dispatch: bringing a stream id to some worker."""

__all__ = ()
