"""The table from redis-py's exceptions to ours. What real servers say is in tests/contract/test_redis_errors.py."""

from typing import Any, cast

import pytest
import redis.exceptions as rx

from shared.errors import StoreBusy, StoreDenied, StoreError, StoreFull, StoreMisused, StoreReadOnly, StoreUnavailable
from shared.store.redis.errors import is_missing_function, mapped, mapping

__all__ = ()

CLUSTER = cast("Any", rx)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (rx.OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), StoreFull),
        (rx.ResponseError("OOM command not allowed when used memory > 'maxmemory'."), StoreFull),
        (rx.ResponseError("MISCONF Errors writing to the AOF file: No space left on device"), StoreFull),
        (rx.ResponseError("NOREPLICAS Not enough good replicas to write."), StoreFull),
        (rx.ReadOnlyError("You can't write against a read only replica."), StoreReadOnly),
        (rx.ResponseError("READONLY You can't write against a read only replica."), StoreReadOnly),
        (rx.ResponseError("UNBLOCKED force unblock from blocking operation, instance state changed"), StoreReadOnly),
        (rx.BusyLoadingError("Redis is loading the dataset in memory"), StoreBusy),
        (rx.ResponseError("LOADING Redis is loading the dataset in memory"), StoreBusy),
        (rx.ResponseError("BUSY Redis is busy running a script."), StoreBusy),
        (rx.ResponseError("TRYAGAIN Multiple keys request during rehashing of slot"), StoreBusy),
        (CLUSTER.TryAgainError("Multiple keys request during rehashing of slot"), StoreBusy),
        (rx.ResponseError("CLUSTERDOWN Hash slot not served"), StoreBusy),
        (CLUSTER.ClusterDownError("Hash slot not served"), StoreBusy),
        (rx.ResponseError("MASTERDOWN Link with MASTER is down"), StoreBusy),
        (CLUSTER.MasterDownError("Link with MASTER is down"), StoreBusy),
        (rx.ResponseError("MOVED 3999 127.0.0.1:6381"), StoreBusy),
        (CLUSTER.MovedError("3999 127.0.0.1:6381"), StoreBusy),
        (rx.ResponseError("ASK 3999 127.0.0.1:6381"), StoreBusy),
        (CLUSTER.AskError("3999 127.0.0.1:6381"), StoreBusy),
        (rx.ConnectionError("Connection closed by server."), StoreUnavailable),
        (rx.TimeoutError("Timeout reading from socket"), StoreUnavailable),
        (ConnectionResetError(104, "reset"), StoreUnavailable),
        (TimeoutError(), StoreUnavailable),
        (EOFError(), StoreUnavailable),
        (rx.AuthenticationError("invalid username-password pair or user is disabled."), StoreDenied),
        (rx.AuthorizationError("no"), StoreDenied),
        (rx.NoPermissionError("User reader has no permissions to run the 'fcall' command"), StoreDenied),
        (rx.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"), StoreMisused),
        (rx.ResponseError("append: not an event"), StoreMisused),
        (rx.ResponseError("something that nobody has ever seen"), StoreMisused),
        (rx.ResponseError(""), StoreMisused),
        (rx.DataError("Invalid input of type: 'dict'."), StoreMisused),
    ],
)
def test_the_table(error: Exception, expected: type[StoreError]) -> None:
    assert type(mapped(error)) is expected
    with pytest.raises(expected) as raised, mapping():
        raise error
    assert raised.value.__cause__ is error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (rx.ConnectionError("Connection closed by server."), "connection failed: Connection closed by server."),
        (rx.TimeoutError("Timeout reading from socket"), "no answer in time: Timeout reading from socket"),
        (TimeoutError(), "no answer in time"),
        (EOFError(), "connection closed"),
    ],
)
def test_what_failed_is_said_in_words(error: Exception, message: str) -> None:
    assert mapped(error).message == message


def test_ours_stay_as_they_are() -> None:
    ours = StoreFull("no room")
    assert mapped(ours) is ours


def test_what_is_not_redis_is_left_alone() -> None:
    with pytest.raises(ZeroDivisionError), mapping():
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("error", "is_missing"),
    [
        (rx.ResponseError("Function not found"), True),
        (rx.ResponseError("function not found: x"), True),
        (rx.ResponseError("append: function not found"), False),
        (rx.OutOfMemoryError("Function not found"), True),
        (rx.ConnectionError("Function not found"), False),
        ([b"OK"], False),
        (None, False),
    ],
)
def test_a_missing_function_is_recognised(error: object, *, is_missing: bool) -> None:
    assert is_missing_function(error) == is_missing
