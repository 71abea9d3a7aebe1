"""Whatever dies, the reader ends up with exactly the text that was produced: workload, nemesis, history, checker."""

__all__ = ()
