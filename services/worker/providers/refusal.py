"""A provider's refusal as an error of ours: its class, when to come again, and what an operator wants to know of it.

The provider's words stay inside of `ProviderAnswer.message`: they may hold the prompt, the key or the address.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from services.worker.providers.complaint import Complaint, complaint_in, complaint_of, plain_name
from services.worker.providers.pause import retry_after_s, should_retry
from services.worker.providers.verdict import kind_of
from shared.errors import ProviderAnswer, ProviderError

__all__ = ("MAX_REFUSAL_BYTES", "error_inside", "located", "read_refusal", "refusal")

# What of an error's body is looked at, and how long it is waited for once the status is there.
MAX_REFUSAL_BYTES: Final = 64 * 1024
_MAX_WAIT_S: Final = 2.0

_REQUEST_IDS: Final = (
    "x-request-id",
    "request-id",
    "apim-request-id",
    "x-ms-request-id",
    "mistral-correlation-id",
    "x-goog-request-id",
    "x-amzn-requestid",
    "cf-ray",
)


def refusal(
    status: int, headers: Mapping[str, str], body: bytes = b"", *, path: str | None = None, secret: str = ""
) -> ProviderError:
    """The error behind a response that is no success."""
    complaint = complaint_in(body) if body else Complaint()
    pause = retry_after_s(headers, now=datetime.now(UTC)) or complaint.retry_after_s
    error = kind_of(status, complaint)(
        retry_after_s=pause, should_retry=should_retry(headers), answer=_answer(complaint, status)
    )
    return located(error, status=status, headers=headers, path=path, secret=secret)


def error_inside(value: object) -> ProviderError:
    """The error behind an error object in a response that began well. What it does not tell clearly is a failure."""
    complaint = complaint_of(value)
    return kind_of(None, complaint)(retry_after_s=complaint.retry_after_s, answer=_answer(complaint, None))


def located(
    error: ProviderError,
    *,
    path: str | None,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    secret: str = "",
) -> ProviderError:
    """The same error, knowing also which call of which address it answers, and without our key in its words."""
    known = error.answer or ProviderAnswer()
    error.answer = replace(
        known,
        message=known.message.replace(secret, "[key]") if secret else known.message,
        status=known.status or status,
        path=known.path or path,
        request_id=known.request_id or _request_id(headers or {}),
    )
    return error


async def read_refusal(read: Callable[[float], Awaitable[bytes]], deadline: float) -> bytes:
    """The beginning of an error's body, as much as comes in time. `read` gives what is there by a deadline."""
    last = min(deadline, asyncio.get_running_loop().time() + _MAX_WAIT_S)
    start = b""
    try:
        while len(start) < MAX_REFUSAL_BYTES and (data := await read(last)):
            start += data
    except ProviderError:
        return start  # the status says the most of it already
    return start[:MAX_REFUSAL_BYTES]


def _answer(complaint: Complaint, status: int | None) -> ProviderAnswer:
    return ProviderAnswer(
        status=status,
        code=complaint.code,
        type=complaint.type,
        request_id=complaint.request_id,
        message=complaint.message,
    )


def _request_id(headers: Mapping[str, str]) -> str | None:
    return next(filter(None, (plain_name(headers.get(name)) for name in _REQUEST_IDS)), None)
