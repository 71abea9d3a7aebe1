"""Rights, checked in one place: every operation of `Streams` names the right it needs."""

import functools
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from services.edge.access.caller import Caller, Right
from shared.errors import Forbidden

__all__ = ("needed_right", "needs")

_P = ParamSpec("_P")
_R = TypeVar("_R")
_S = TypeVar("_S")

_Operation = Callable[Concatenate[_S, Caller, _P], Awaitable[_R]]
_ATTRIBUTE: Final = "needed_right"


def needs(right: Right) -> Callable[[_Operation[_S, _P, _R]], _Operation[_S, _P, _R]]:
    """Return a decorator for an operation on behalf of a caller: without `right` it raises `Forbidden`, and no more."""

    def guard(operation: _Operation[_S, _P, _R]) -> _Operation[_S, _P, _R]:
        @functools.wraps(operation)
        async def guarded(owner: _S, caller: Caller, /, *args: _P.args, **options: _P.kwargs) -> _R:
            if right not in caller.rights:
                raise Forbidden(f"This needs the right {right!r}.")
            return await operation(owner, caller, *args, **options)

        setattr(guarded, _ATTRIBUTE, right)
        return guarded

    return guard


def needed_right(operation: Callable[..., Any]) -> Right | None:
    """Return the right that an operation names, None if it names none."""
    right: Right | None = getattr(operation, _ATTRIBUTE, None)
    return right
