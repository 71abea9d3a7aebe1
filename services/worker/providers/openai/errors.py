"""What an OpenAI-style provider means by a status, an error object or a `Retry-After`. Its words stay here.

A class is all that leaves: the provider's message may hold the prompt, the key or the address.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from shared.errors import ProviderAuth, ProviderError, ProviderFailed, ProviderRateLimited, ProviderRejected

__all__ = ("MAX_RETRY_AFTER_S", "error_in", "error_of_object", "error_of_status", "retry_after_s")

# A provider that asks for more than this is as good as down; the caller's own policy decides then.
MAX_RETRY_AFTER_S = 300.0

_BY_STATUS: dict[int, type[ProviderError]] = {
    400: ProviderRejected,
    401: ProviderAuth,
    403: ProviderAuth,
    404: ProviderRejected,
    413: ProviderRejected,
    422: ProviderRejected,
    429: ProviderRateLimited,
}
# `code` or `type` of an error object, as OpenAI, OpenRouter, llama.cpp, vLLM and Anthropic's compatible API use them.
_BY_WORD: dict[str, type[ProviderError]] = {
    "invalid_api_key": ProviderAuth,
    "authentication_error": ProviderAuth,
    "permission_error": ProviderAuth,
    "rate_limit_exceeded": ProviderRateLimited,
    "rate_limit_error": ProviderRateLimited,
    "insufficient_quota": ProviderRateLimited,
    "tokens": ProviderRateLimited,
    "requests": ProviderRateLimited,
    "invalid_request_error": ProviderRejected,
    "context_length_exceeded": ProviderRejected,
    "exceed_context_size_error": ProviderRejected,
    "model_not_found": ProviderRejected,
    "not_found_error": ProviderRejected,
    "invalid_prompt": ProviderRejected,
    "content_filter": ProviderRejected,
    "content_policy_violation": ProviderRejected,
    "BadRequestError": ProviderRejected,
}


def error_of_status(status: int, headers: Mapping[str, str]) -> ProviderError:
    """The error behind a response that is no success."""
    return _BY_STATUS.get(status, ProviderFailed)(retry_after_s=retry_after_s(headers, now=datetime.now(UTC)))


def error_of_object(value: object) -> ProviderError:
    """The error behind the `error` of a body or frame. What it does not tell clearly is a plain failure."""
    fields = value if isinstance(value, dict) else {}
    return next(filter(None, map(_class_of, _hints(fields))), ProviderFailed)()


def error_in(value: object) -> object | None:
    """The error object or text in a body or frame, in any of the shapes providers have for it; None if it is none."""
    if isinstance(value, list):
        return next((error for each in value if (error := error_in(each)) is not None), None)
    if not isinstance(value, dict):
        return None
    if value.get("error"):
        return value["error"] if value["error"] is not True else value
    if value.get("object") == "error" or value.get("type") == "error":
        return value
    for name in ("x_groq", "base_resp"):
        if isinstance(value.get(name), dict) and (error := _error_beside(value[name])):
            return error
    return None if "choices" in value else _error_alone(value)


def _error_beside(fields: dict[str, Any]) -> object | None:
    """The error that Groq (`x_groq`) and MiniMax (`base_resp`) put beside an answer."""
    code = fields.get("status_code")
    return fields.get("error") or ({"code": code, "message": fields.get("status_msg")} if code else None)


def _error_alone(fields: dict[str, Any]) -> object | None:
    """The error that is the whole object: FastAPI, Mistral, DashScope, Cloudflare."""
    if fields.get("detail"):
        return {"message": fields["detail"]}
    if isinstance(fields.get("errors"), list) and fields["errors"]:
        first: object = fields["errors"][0]
        return first or fields
    says = any(isinstance(fields.get(name), str) and fields[name] for name in ("message", "msg", "error_msg"))
    return fields if says and any(fields.get(name) for name in ("code", "error_code", "status", "type")) else None


def retry_after_s(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Seconds until another try, from `retry-after-ms` or `Retry-After` (seconds or a date); `None` if not said."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return _capped(milliseconds / 1000)
    after = headers.get("Retry-After")
    seconds = _number(after)
    if seconds is None and after is not None:
        seconds = _seconds_until(after, now=now)
    return None if seconds is None else _capped(seconds)


def _hints(fields: dict[str, Any]) -> tuple[object, ...]:
    return fields.get("code"), fields.get("status"), fields.get("type")


def _class_of(hint: object) -> type[ProviderError] | None:
    if isinstance(hint, str):
        return _BY_WORD.get(hint) or (
            _class_of(int(hint)) if hint.isascii() and hint.isdigit() and len(hint) == 3 else None
        )
    return _BY_STATUS.get(hint) if isinstance(hint, int) else None


def _number(text: str | None) -> float | None:
    # Only plain digits: `float` also takes `inf`, `nan`, underscores and the digits of every script.
    whole = text.strip().replace(".", "", 1) if text else ""
    return float(text) if text and whole.isascii() and whole.isdigit() else None


def _seconds_until(date: str, *, now: datetime) -> float | None:
    try:
        then = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return None
    return (then.replace(tzinfo=then.tzinfo or UTC) - now).total_seconds()


def _capped(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)
