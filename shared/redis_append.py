"""An append as Redis reads it: the usual one, a single event, is put together in one formatting.

Everything up to the nonce is the same for all appends of a stream and packed once. CPU a command, measured: 1.2 µs,
and 2.5 for a list of arguments, a tuple of words and hiredis' packing of them.
"""

from functools import lru_cache
from typing import Any

import hiredis

from shared.keys import Keyspace
from shared.store import Append, Retention

__all__ = ("append_words", "packed_append", "packed_word", "packed_words")

_WORDS_BEFORE_KEYS = 3
# nonce, tail, safe, kind, size, value
_WORDS_OF_ONE_EVENT = 6


def append_words(function: str, keys: Keyspace, append: Append, retention: Retention) -> tuple[Any, ...]:
    """The words of the command. Only what closes its stream needs all keys: each costs Redis 0.2 µs."""
    is_closing = bool(append.events) and append.events[-1].is_terminal
    given = keys.of_stream(append.id) if is_closing else keys.of_append(append.id)
    words: list[Any] = ["FCALL", function, len(given), *given, append.nonce, append.tail, append.safe]
    if is_closing:
        words += (retention.retain_ms, retention.tombstone_ms)
    for event in append.events:
        words += (event.kind, event.size, event.value)
    if append.updates:
        words.append("")
        for name, value in append.updates.items():
            words += (name, value)
    return tuple(words)


def packed_append(function: str, keys: Keyspace, append: Append, retention: Retention) -> bytes:
    """The whole command. The same bytes as hiredis makes of its words."""
    if not _is_usual(append):
        return _packed(append_words(function, keys, append, retention))
    (event,) = append.events
    tail, safe, size = b"%d" % append.tail, b"%d" % append.safe, b"%d" % event.size
    return b"%b$%d\r\n%b\r\n$%d\r\n%b\r\n%b$%d\r\n%b\r\n$%d\r\n%b\r\n" % (
        _beginning(function, keys.prefix, append.id, append.nonce),
        len(tail),
        tail,
        len(safe),
        safe,
        packed_word(event.kind),
        len(size),
        size,
        len(event.value),
        event.value,
    )


def _is_usual(append: Append) -> bool:
    """One event, and nothing else changes."""
    return len(append.events) == 1 and not append.updates and not append.events[0].is_terminal


@lru_cache(maxsize=4096)
def _beginning(function: str, prefix: str, stream_id: str, nonce: str) -> bytes:
    keys = Keyspace(prefix).of_append(stream_id)
    words = ("FCALL", function, len(keys), *keys, nonce)
    count = _WORDS_BEFORE_KEYS + len(keys) + _WORDS_OF_ONE_EVENT
    return b"*%d\r\n%b" % (count, packed_words(words))


@lru_cache(maxsize=64)
def packed_word(word: str) -> bytes:
    """A word that comes again and again."""
    return packed_words((word,))


def packed_words(words: tuple[Any, ...]) -> bytes:
    """Words as they stand in a command, without the count that a command begins with."""
    packed = _packed(words)
    return packed[packed.index(b"\n") + 1 :]


def _packed(words: tuple[Any, ...]) -> bytes:
    packed: bytes = hiredis.pack_command(words)
    return packed
