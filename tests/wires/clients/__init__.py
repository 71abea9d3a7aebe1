"""Other people's clients, unmodified, in every situation: what each makes of our wires is data, see `../cases`."""

__all__ = ()
