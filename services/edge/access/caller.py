"""Who is asking. Every route gets its caller from here, so that authentication changes one place."""

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from fastapi import Depends, Request

__all__ = ("Caller", "CallerOf", "Right", "caller_of")

Right = Literal["create", "read", "cancel", "delete"]
_ALL: Final = frozenset[Right]({"create", "read", "cancel", "delete"})


@dataclass(frozen=True, slots=True)
class Caller:
    """A tenant and what it may do. Streams record their tenant, and every look-up compares it."""

    tenant: str
    rights: frozenset[Right] = _ALL


async def caller_of(request: Request) -> Caller:
    """Until authentication exists everybody is the tenant `public`, with every right."""
    return Caller("public")


CallerOf = Annotated[Caller, Depends(caller_of)]
