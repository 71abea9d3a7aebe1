"""A way in: an edge of the cluster, or nginx before all of them."""

from dataclasses import dataclass
from typing import Protocol

__all__ = ("Door", "NginxDoor")


class Door(Protocol):
    """Something on this machine that answers as an edge does. Histories know it by its name."""

    @property
    def name(self) -> str: ...

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> int: ...


@dataclass(frozen=True, slots=True)
class NginxDoor:
    """nginx as `deploy/` has it: it finds an edge that runs."""

    name: str
    port: int
    host: str = "127.0.0.1"
