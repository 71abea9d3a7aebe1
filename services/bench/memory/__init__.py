"""The cases of the scenario `memory`: what a token costs, a late joiner, a long answer, a full budget."""

__all__ = ()
