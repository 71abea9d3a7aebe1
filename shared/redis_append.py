"""An append as Redis reads it: the usual one, a single event, is put together in one formatting.

Everything up to the last key is the same for all appends of a stream and packed once. CPU a command, measured: 0.9 µs,
and 2.8 for a list of arguments, a tuple of words and hiredis' packing of them.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import hiredis

from shared.store import Append, Retention

__all__ = ("append_args", "packed_append")

_WORDS_BEFORE_KEYS = 3
_WORDS_OF_ONE_EVENT = 9


def append_args(append: Append, retention: Retention) -> Sequence[Any]:
    """The arguments of `append` after its keys."""
    args: list[Any] = [append.nonce, append.tail, append.safe, retention.retain_ms, retention.tombstone_ms]
    args.append(len(append.events))
    for event in append.events:
        args += (event.kind, event.size, event.value)
    for name, value in append.updates.items():
        args += (name, value)
    return args


def packed_append(function: str, keys: tuple[str, ...], append: Append, retention: Retention) -> bytes:
    """The whole command. The same bytes as hiredis would make of it."""
    if len(append.events) != 1 or append.updates:
        words: tuple[Any, ...] = ("FCALL", function, len(keys), *keys, *append_args(append, retention))
        return _packed(words)
    (event,) = append.events
    tail, safe, size = b"%d" % append.tail, b"%d" % append.safe, b"%d" % event.size
    return b"%b$%d\r\n%b\r\n$%d\r\n%b\r\n%b$%d\r\n%b\r\n$%d\r\n%b\r\n" % (
        _beginning(function, keys, append.nonce),
        len(tail),
        tail,
        len(safe),
        safe,
        _middle(retention, event.kind),
        len(size),
        size,
        len(event.value),
        event.value,
    )


@lru_cache(maxsize=4096)
def _beginning(function: str, keys: tuple[str, ...], nonce: str) -> bytes:
    words = ("FCALL", function, len(keys), *keys, nonce)
    count = _WORDS_BEFORE_KEYS + len(keys) + _WORDS_OF_ONE_EVENT
    return b"*%d\r\n%b" % (count, _without_count(_packed(words)))


@lru_cache(maxsize=64)
def _middle(retention: Retention, kind: str) -> bytes:
    return _without_count(_packed((retention.retain_ms, retention.tombstone_ms, 1, kind)))


def _packed(words: tuple[Any, ...]) -> bytes:
    packed: bytes = hiredis.pack_command(words)
    return packed


def _without_count(packed: bytes) -> bytes:
    return packed[packed.index(b"\n") + 1 :]
