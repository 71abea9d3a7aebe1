"""The meaning of an OpenAI-style status, error object or `Retry-After`. The provider's words stay here.

A class, and the bare facts, are all that leaves: the provider's message may hold the prompt, the key or the address.
"""

from collections.abc import Mapping
from typing import Any

from services.worker.providers.pause import MAX_RETRY_AFTER_S, retry_after_s
from services.worker.providers.refusal import error_inside, refusal
from shared.errors import ProviderError

__all__ = ("MAX_RETRY_AFTER_S", "error_in", "error_of_object", "error_of_status", "retry_after_s")


def error_of_status(status: int, headers: Mapping[str, str], body: bytes = b"") -> ProviderError:
    """The error behind a response that is no success."""
    return refusal(status, headers, body)


def error_of_object(value: object) -> ProviderError:
    """The error behind the `error` of a body or frame. What it does not tell clearly is a plain failure."""
    return error_inside(value)


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
