"""The map of slots to masters of a Redis Cluster, and the slot of a command. Nothing here talks to Redis."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from redis.crc import key_slot
from redis.exceptions import ResponseError

__all__ = ("Address", "Redirect", "SlotMap", "slot_of")

Address = tuple[str, int]

_SLOTS: Final = 16_384
# What we send that names no key; any node can answer it.
_KEYLESS: Final = frozenset({"PING", "TIME", "PUBLISH"})
_COUNTED: Final = frozenset({"FCALL", "FCALL_RO"})
# The line of the first key in an FCALL that is packed already: each word has a line with its length before it.
_KEY_LINE: Final = 8


@dataclass(frozen=True, slots=True)
class SlotMap:
    """A cluster as one of its nodes described it. A slot that nobody serves has no owner."""

    owners: tuple[Address | None, ...]
    replicas: frozenset[Address] = frozenset()

    def __repr__(self) -> str:
        return f"<SlotMap {len(self.masters)} masters {len(self.replicas)} replicas>"

    @classmethod
    def parse(cls, reply: Sequence[Any], *, asked: Address) -> Self:
        """From `CLUSTER SLOTS`. A node that does not know its own host is where it was asked."""
        owners: list[Address | None] = [None] * _SLOTS
        replicas: set[Address] = set()
        for first, last, master, *others in reply:
            owners[first : last + 1] = [_address(master, asked)] * (last + 1 - first)
            replicas.update(_address(other, asked) for other in others)
        return cls(tuple(owners), frozenset(replicas))

    @property
    def masters(self) -> tuple[Address, ...]:
        return tuple(sorted({owner for owner in self.owners if owner is not None}))

    def moved(self, slot: int, address: Address) -> "SlotMap":
        """The same with another owner of one slot."""
        if self.owners[slot] == address:
            return self
        return SlotMap((*self.owners[:slot], address, *self.owners[slot + 1 :]), self.replicas)


def slot_of(command: Sequence[Any]) -> int | None:
    """The slot of a command's first key, None without one. All keys of one command of ours share a slot."""
    key = _first_key(command)
    return None if key is None else key_slot(key if isinstance(key, bytes) else str(key).encode())


def _first_key(command: Sequence[Any]) -> Any:
    if isinstance(command, bytes):
        return command.split(b"\r\n", _KEY_LINE + 1)[_KEY_LINE]
    name = str(command[0]).upper()
    if name in _KEYLESS:
        return None
    if name in _COUNTED:
        return command[3] if int(command[2]) else None
    if name == "XREAD":
        return command[command.index("STREAMS") + 1]
    return command[1]


def _address(node: Sequence[Any], asked: Address) -> Address:
    host, port = node[0], node[1]
    return (host.decode() if host else asked[0], int(port))


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
        """Return what the reply of this node asks for, None if it is an answer or another refusal.

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
