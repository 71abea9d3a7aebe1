"""What every wire has to keep, asked of each on every carrier; and a prototype that shows how little a wire is."""

__all__ = ()
