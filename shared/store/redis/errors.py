"""The boundary where redis-py's exceptions become ours, so that nothing else has to know redis-py."""

import contextlib
from collections.abc import Iterator

import redis.exceptions as rx

from shared.errors import StoreBusy, StoreDenied, StoreError, StoreFull, StoreMisused, StoreReadOnly, StoreUnavailable

__all__ = ("about_key", "is_missing_function", "is_wrong_type", "mapped", "mapping")

_FULL = ("OOM", "MISCONF", "NOREPLICAS")
_DENIED = ("NOAUTH", "NOPERM", "WRONGPASS")
# A command inside a function: Redis 7.0, then newer ones and Valkey.
_DENIED_IN_FUNCTION = ("The user executing the script can't", "ACL failure in script")
_FAILING_OVER = ("READONLY", "UNBLOCKED")
_BUSY = ("BUSY", "LOADING", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "MOVED", "ASK")


def mapped(error: BaseException) -> StoreError:
    """Our error for one of redis-py's. What is unknown counts as misuse: retrying it blindly could not be justified."""
    if isinstance(error, StoreError):
        return error
    if isinstance(error, rx.OutOfMemoryError):
        return StoreFull(str(error))
    if isinstance(error, rx.ReadOnlyError):
        return StoreReadOnly(str(error))
    if isinstance(error, rx.AuthenticationError | rx.AuthorizationError | rx.NoPermissionError):
        return StoreDenied(str(error))
    # redis-py strips the word from the errors it has classes for, so ask the class before the text.
    if isinstance(error, rx.BusyLoadingError | rx.TryAgainError | rx.ClusterDownError | rx.AskError):
        return StoreBusy(str(error))
    if isinstance(error, rx.ConnectionError | rx.TimeoutError | OSError | EOFError):
        return StoreUnavailable(f"{_failure(error)}: {error}" if str(error) else _failure(error))
    return _by_word(str(error))


def _failure(error: BaseException) -> str:
    """Return a sentence about what failed. A bare timeout has no text of its own."""
    if isinstance(error, rx.TimeoutError | TimeoutError):
        return "no answer in time"
    return "connection closed" if isinstance(error, EOFError) else "connection failed"


def _by_word(text: str) -> StoreError:
    word = text.split(" ", 1)[0].rstrip(":")
    if word in _DENIED or text.startswith(_DENIED_IN_FUNCTION):
        return StoreDenied(text)
    if word in _FULL:
        return StoreFull(text)
    if word in _FAILING_OVER:
        return StoreReadOnly(text)
    if word in _BUSY:
        return StoreBusy(text)
    return StoreMisused(text)


def is_missing_function(error: object) -> bool:
    """Return whether a reply says that our library is not loaded (a restarted server, or a new master)."""
    return isinstance(error, rx.ResponseError) and str(error).lower().startswith("function not found")


def is_wrong_type(error: StoreError) -> bool:
    """Return whether a key is of another type than the command needs: somebody else has written it."""
    return isinstance(error, StoreMisused) and "WRONGTYPE" in error.message


def about_key(key: str, error: StoreError) -> StoreError:
    """The same error, with the name of the key that it is about."""
    return type(error)(f"{key}: {error.message}")


@contextlib.contextmanager
def mapping() -> Iterator[None]:
    """Run redis-py under this; everything it raises comes out as a `StoreError`."""
    try:
        yield
    except (rx.RedisError, OSError, EOFError) as error:
        raise mapped(error) from error
