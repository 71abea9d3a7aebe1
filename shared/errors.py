"""The one error tree. Each leaf has a code, an HTTP status, a WebSocket close code and says whether a retry can help.

What a reader sees of an error is its code and one sentence; causes stay in the process that met them.
"""

from dataclasses import dataclass, field
from typing import ClassVar

__all__ = (
    "BodyTooLarge",
    "Draining",
    "Forbidden",
    "HostNotAllowed",
    "IdempotencyConflict",
    "InvalidBody",
    "InvalidConfiguration",
    "InvalidCursor",
    "InvalidRequest",
    "LogLost",
    "MemoryPressure",
    "OriginNotAllowed",
    "ProviderAnswer",
    "ProviderAuth",
    "ProviderError",
    "ProviderFailed",
    "ProviderMalformed",
    "ProviderModelMissing",
    "ProviderMoved",
    "ProviderPolicy",
    "ProviderQuota",
    "ProviderRateLimited",
    "ProviderRejected",
    "ProviderStalled",
    "ProviderTooLong",
    "ProviderTruncated",
    "ProviderUnreachable",
    "ProviderUnsupported",
    "StoreBusy",
    "StoreDenied",
    "StoreError",
    "StoreFull",
    "StoreMisused",
    "StoreReadOnly",
    "StoreUnavailable",
    "StreamDeleted",
    "StreamExpired",
    "StreamTooLarge",
    "TailraceError",
    "UnknownModel",
    "UnknownStream",
    "WorkerCrashLoop",
    "WorkerLost",
)


class TailraceError(Exception):
    """Base of every error that a caller of Tailrace can meet."""

    code: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    text: ClassVar[str] = "Something went wrong inside Tailrace."

    def __init__(self, message: str | None = None, *, retry_after_s: float | None = None) -> None:
        self.message = message or self.text
        self.retry_after_s = retry_after_s
        super().__init__(self.message)


# What a caller got wrong


class InvalidRequest(TailraceError):
    """A request that is wrong in itself. `param` names the member of the body or the query, if it is one."""

    code, status = "invalid_request", 400
    text = "The request is not valid."

    def __init__(
        self, message: str | None = None, *, retry_after_s: float | None = None, param: str | None = None
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.param = param


class InvalidCursor(InvalidRequest):
    code = "invalid_cursor"
    text = "The cursor is not an event id such as 1-345.9f2c01ab."


class InvalidBody(InvalidRequest):
    code, status = "invalid_body", 422
    text = "The body does not have the documented shape."


class BodyTooLarge(InvalidRequest):
    code, status = "body_too_large", 413
    text = "The body is larger than this server accepts."


class HostNotAllowed(TailraceError):
    code, status = "host_not_allowed", 403
    text = "This server does not accept that host name; the setting allowed_hosts lists the accepted names."


class OriginNotAllowed(TailraceError):
    code, status = "origin_not_allowed", 403
    text = "Pages of other sites may not do this; the setting allowed_origins lists the allowed ones."


class UnknownModel(InvalidRequest):
    code, status = "unknown_model", 404
    text = "No configured provider serves this model."


class Forbidden(TailraceError):
    """The caller lacks the right to do this, whatever it would be done to."""

    code, status = "forbidden", 403
    text = "You may not do this."


class UnknownStream(TailraceError):
    code, status = "unknown_stream", 404
    text = "There is no such stream."


class StreamExpired(TailraceError):
    code, status = "stream_expired", 410
    text = "The stream has expired."

    def __init__(self, message: str | None = None, *, gone_ms: int | None = None) -> None:
        super().__init__(message)
        self.gone_ms = gone_ms


class StreamDeleted(StreamExpired):
    code = "stream_deleted"
    text = "The stream was deleted."


class IdempotencyConflict(TailraceError):
    code, status = "idempotency_conflict", 409
    text = "This Idempotency-Key was used with another request."


class InvalidConfiguration(TailraceError):
    code = "invalid_configuration"
    text = "The configuration is not valid."


# What passes: come back later


class Draining(TailraceError):
    code, status, retryable = "draining", 503, True
    text = "This server is shutting down; connect again."


class MemoryPressure(TailraceError):
    code, status, retryable = "memory_pressure", 503, True
    text = "The broker is at its memory budget; try again soon."


# Redis, mapped at one boundary (shared/store/redis/errors.py)


class StoreError(TailraceError):
    code, status, retryable = "store_error", 503, True
    text = "The stream store refused the operation."


class StoreUnavailable(StoreError):
    """No answer: the write may or may not have happened, so ask for the tail before writing again."""

    code = "store_unavailable"
    text = "The stream store cannot be reached."


class StoreBusy(StoreError):
    """Refused before it started; the same call may succeed in a moment (BUSY, TRYAGAIN, LOADING, CLUSTERDOWN)."""

    code = "store_busy"
    text = "The stream store is busy."


class StoreReadOnly(StoreError):
    """The node is no master any more: find the master, compare tails, go on."""

    code = "store_read_only"
    text = "The stream store is failing over."


class StoreFull(StoreError):
    """Refused for memory, disk or missing replicas; nothing was written (OOM, MISCONF, NOREPLICAS)."""

    code = "store_full"
    text = "The stream store is full."


class StoreDenied(StoreError):
    """A password or a right is missing (NOAUTH, WRONGPASS, NOPERM), until somebody mends that. Nothing was written."""

    code = "store_denied"
    text = "The stream store denies this server a permission; its operator has to fix this."


class StoreMisused(StoreError):
    """A bug, or a key that holds something else (WRONGTYPE): repeating it cannot help."""

    code, status, retryable = "store_misused", 500, False
    text = "The stream store refused a command; see the server's log."


# What ends a stream with one `error` event


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """The answer of a provider that failed, for operators and the stream's owner.

    `message` holds the provider's own words. They may quote the prompt or the key, so they are kept out of `repr`.
    """

    status: int | None = None
    code: str | None = None
    type: str | None = None
    path: str | None = None
    request_id: str | None = None
    message: str = field(default="", repr=False)

    def facts(self) -> dict[str, str | int]:
        """All that is known but the message."""
        names = ("status", "code", "type", "path", "request_id")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class ProviderError(TailraceError):
    """A failure of one provider. `asks_again` and `asks_others`: may the same one, may another one be asked.

    `should_retry` is the provider's own word on being asked again; it counts more than the kind of the failure.
    """

    code, status, retryable = "provider_failed", 502, True
    text = "The model provider failed."
    asks_again: ClassVar[bool] = True
    asks_others: ClassVar[bool] = True

    def __init__(
        self,
        message: str | None = None,
        *,
        retry_after_s: float | None = None,
        should_retry: bool | None = None,
        answer: ProviderAnswer | None = None,
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.should_retry = should_retry
        self.answer = answer

    @property
    def may_be_asked_again(self) -> bool:
        return self.asks_again if self.should_retry is None else self.should_retry


class WorkerCrashLoop(TailraceError):
    code = "worker_crash_loop"
    text = "The workers of this stream kept dying."


class WorkerLost(TailraceError):
    code, retryable = "worker_lost", True
    text = "The worker of this stream died, and the stream was not to be continued."


class StreamTooLarge(TailraceError):
    code = "stream_too_large"
    text = "The answer is larger than its byte budget, and no part of it could be trimmed."


class LogLost(TailraceError):
    code, retryable = "log_lost", True
    text = "The stream store lost a part of this stream."


class ProviderFailed(ProviderError):
    text = "The model provider answered with a server error."


class ProviderUnreachable(ProviderError):
    code = "provider_unreachable"
    text = "The model provider cannot be reached."


class ProviderMoved(ProviderError):
    code, retryable = "provider_moved", False
    text = "The model provider's address is wrong: it redirects or does not exist."
    asks_again = False


class ProviderAuth(ProviderError):
    code, retryable = "provider_auth", False
    text = "The model provider refused the configured credentials."
    asks_again = False


class ProviderQuota(ProviderError):
    code, retryable = "provider_quota", False
    text = "The account at the model provider has no credit or quota left."
    asks_again = False


class ProviderRateLimited(ProviderError):
    code = "provider_rate_limited"
    text = "The model provider is limiting requests."


class ProviderRejected(ProviderError):
    code, retryable = "provider_rejected", False
    text = "The model provider did not accept the request."
    asks_again = asks_others = False


class ProviderPolicy(ProviderRejected):
    code = "provider_policy"
    text = "The model provider refused the content of the request."


class ProviderModelMissing(ProviderRejected):
    code = "provider_model_missing"
    text = "The model provider does not serve this model."
    asks_others = True


class ProviderTooLong(ProviderRejected):
    code = "provider_too_long"
    text = "The request is longer than the model's context."
    asks_others = True


class ProviderUnsupported(ProviderRejected):
    code = "provider_unsupported"
    text = "The model provider does not support one of the request's options."
    asks_others = True


class ProviderMalformed(ProviderError):
    code = "provider_malformed"
    text = "The model provider sent something that is not a completion stream."
    # It is so by nature: the same provider would be asked, and paid, for the same again.
    asks_again = False


class ProviderStalled(ProviderError):
    code = "provider_stalled"
    text = "The model provider stalled."


class ProviderTruncated(ProviderError):
    code = "provider_truncated"
    text = "The model provider's stream broke off before its end."
