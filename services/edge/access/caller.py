"""The caller of a request. Every route gets it from here, so that authentication changes one place."""

from dataclasses import dataclass
from typing import Annotated, Final, Literal, get_args

from fastapi import Depends
from starlette.requests import HTTPConnection

__all__ = ("Caller", "CallerOf", "Right", "caller_of")

# `admin` is for states and figures of all tenants together.
Right = Literal["create", "read", "cancel", "delete", "list", "admin"]
_ALL: Final[frozenset[Right]] = frozenset(get_args(Right))


@dataclass(frozen=True, slots=True)
class Caller:
    """A tenant and what it may do. Streams record their tenant, and every look-up compares it."""

    tenant: str
    rights: frozenset[Right] = _ALL


async def caller_of(request: HTTPConnection) -> Caller:
    """Until authentication exists everybody is the tenant `public`, with every right."""
    return Caller("public")


CallerOf = Annotated[Caller, Depends(caller_of)]
