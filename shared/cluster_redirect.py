"""What a node's refusal says about where a command belongs. What Redis has refused in these words it has not done."""

from dataclasses import dataclass
from typing import Final, Self

from redis.exceptions import ResponseError

from shared.cluster_slots import Address

__all__ = ("Redirect",)

_NAMING: Final = ("MOVED", "ASK")
_PATIENCE: Final = ("TRYAGAIN", "CLUSTERDOWN")


@dataclass(frozen=True, slots=True)
class Redirect:
    """MOVED and ASK name a node; TRYAGAIN and CLUSTERDOWN only ask for patience."""

    word: str
    slot: int = 0
    address: Address | None = None

    @classmethod
    def of(cls, reply: object, *, asked: Address) -> Self | None:
        """What the reply of this node asks for; None if it is an answer or another refusal.

        Without a host the node that is named is on the host that was asked.
        """
        if not isinstance(reply, ResponseError):
            return None
        word, *rest = str(reply).split(" ")
        if word in _PATIENCE:
            return cls(word)
        if word not in _NAMING or len(rest) < 2:
            return None
        host, _, port = rest[1].rpartition(":")
        return cls(word, int(rest[0]), (host or asked[0], int(port)))

    @property
    def ask(self) -> Address | None:
        """The node that this one command is for, after ASKING. The slot itself stays where it is."""
        return self.address if self.word == "ASK" else None

    @property
    def moved(self) -> bool:
        return self.word == "MOVED"
