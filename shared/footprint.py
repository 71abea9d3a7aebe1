"""What things take in Redis, as the sums count it: the same numbers and the same arithmetic as in Lua."""

from typing import Final

__all__ = ("request_room_bytes", "room_bytes", "share_bytes")

# As STREAM_OVERHEAD and GROWTH_OVERHEAD.
_STREAM_BYTES, _GROWTH_BYTES = 2048, 4608
# As LARGE_REQUEST_BYTES and STRING_OVERHEAD.
_LARGE_REQUEST_BYTES: Final = 4096
_STRING_BYTES: Final = 16


def share_bytes(*, folded: int, is_fully_folded: bool) -> int:
    """What the sums count for a stream besides its bytes: its keys, and until it is folded whole room to grow into.

    Twice as much once anything is folded, because blocks grow too.
    """
    if is_fully_folded:
        return _STREAM_BYTES
    return _STREAM_BYTES + (2 if folded else 1) * _GROWTH_BYTES


def room_bytes(size: int) -> int:
    """What so many bytes in one piece take: rounded up to a quarter of the power of two below, as allocators do."""
    step = 1 << max((size - 1).bit_length() - 3, 0)
    return -(-size // step) * step


def request_room_bytes(size: int) -> int:
    """What a request of `size` bytes counts."""
    return size if size < _LARGE_REQUEST_BYTES else room_bytes(size + _STRING_BYTES)
