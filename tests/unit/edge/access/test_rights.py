"""Every operation of the edge names the right it needs, and does nothing at all without it."""

import inspect
from collections.abc import Callable
from typing import Any, get_args

import pytest

from services.edge.access.caller import Caller, Right
from services.edge.access.rights import needed_right, needs
from services.edge.streams import Streams
from shared.errors import Forbidden

__all__ = ()

OPERATIONS = [
    pytest.param(operation, id=name)
    for name, operation in inspect.getmembers(Streams, inspect.iscoroutinefunction)
    if not name.startswith("_")
]


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_names_its_right(operation: Callable[..., Any]) -> None:
    assert needed_right(operation) in get_args(Right)


@pytest.mark.parametrize("operation", OPERATIONS)
async def test_without_its_right_an_operation_touches_nothing(operation: Callable[..., Any]) -> None:
    caller = Caller("public", frozenset(get_args(Right)) - {needed_right(operation)})
    untouched = object()  # has no store, no feeds and no settings to be asked
    with pytest.raises(Forbidden, match=str(needed_right(operation))):
        await operation(untouched, caller)


async def test_with_its_right_an_operation_is_done() -> None:
    class Doors:
        @needs("read")
        async def open(self, caller: Caller, number: int, *, wide: bool) -> str:
            return f"{caller.tenant} {number} {wide}"

    assert await Doors().open(Caller("us", frozenset({"read"})), 3, wide=True) == "us 3 True"
    assert needed_right(Doors.open) == "read"
    assert needed_right(Doors.__init__) is None
