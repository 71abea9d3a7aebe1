"""The answers of the HTTP contract: events, states, whole messages, errors in the shape of whoever was asked."""

__all__ = ()
