"""The commands that each kind of process sends to Redis, and a check that Redis would allow them.

The functions say themselves what they need (`lua/rights.lua`); here are their names by process, and the commands that
are sent without a function. Each of those is refused as a whole, but who lacks one can do half of its work only.
"""

from typing import Any, Final

from shared.errors import StoreDenied
from shared.log.keys import Keyspace, bucket_of
from shared.store.store import Role

__all__ = ("denial_in", "proof_words")

_EDGE: Final = ("create", "read", "cancel", "delete", "touch")
_WORKER: Final = (
    "create", "read", "claim", "append", "append_deltas", "heartbeat", "release", "cancel", "finish", "touch",
    "compact", "evict", "recount",
)  # fmt: skip
_FUNCTIONS: Final = {"edge": _EDGE, "worker": _WORKER}


def proof_words(role: Role, keys: Keyspace, stream_id: str) -> list[Any]:
    """The arguments of the function `prove`."""
    functions, commands = _FUNCTIONS[role], _commands(role, keys, stream_id)
    words: list[Any] = [len(functions), *functions]
    for command in commands:
        words += (len(command), *command)
    return words


def denial_in(reply: list[bytes]) -> StoreDenied | None:
    """Return the missing rights as an error with a sentence for an operator; None if none is missing."""
    if not reply:
        return None
    return StoreDenied("the user of Redis may not: " + "; ".join(each.decode() for each in reply))


def _commands(role: Role, keys: Keyspace, stream_id: str) -> list[tuple[str, ...]]:
    bucket = bucket_of(stream_id)
    both = [
        ("XREAD", "STREAMS", keys.stream(stream_id), "0-0"),
        ("HGETALL", keys.meta(stream_id)),
        ("HGETALL", keys.tombstone(stream_id)),
        ("HGETALL", keys.usage(bucket)),
        ("HMGET", keys.usage(bucket), "bytes"),
        ("HGET", keys.meta(stream_id), "attempt"),
        ("EXISTS", keys.stream(stream_id)),
        ("ZCARD", keys.leases(bucket)),
        ("ZRANGEBYSCORE", keys.recent(bucket), "0", "1"),
        ("ZREVRANGEBYSCORE", keys.recent(bucket), "1", "0"),
        ("GET", keys.secret),
        ("SET", keys.secret, ""),
        ("INFO",),
        ("PING",),
        ("PUBLISH", keys.cancels, ""),
        ("CLIENT", "ID"),
        ("CLIENT", "UNBLOCK", "1"),
    ]
    if role == "edge":
        current = keys.current(stream_id)
        return [*both, ("GET", current), ("SET", current, "", "PX", "1"), ("PEXPIRE", current, "1")]
    return [
        *both,
        ("TIME",),
        ("ZRANGEBYSCORE", keys.leases(bucket), "0", "1"),
        ("ZREM", keys.leases(bucket), stream_id),
        ("MEMORY", "USAGE", keys.stream(stream_id)),
        ("SUBSCRIBE", keys.cancels),
    ]
