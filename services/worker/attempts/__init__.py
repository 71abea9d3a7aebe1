"""One attempt at a stream from claim to ending: providers are asked, failures judged, answers continued."""

__all__ = ()
