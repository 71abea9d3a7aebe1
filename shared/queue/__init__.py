"""The job queue between edges and workers: who may take which stream next, and which workers there are."""

__all__ = ()
