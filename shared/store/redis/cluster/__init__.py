"""The same store on a Redis Cluster: slots, routing and one connection for each node."""

__all__ = ()
