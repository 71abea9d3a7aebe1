"""Errors in the shape of Anthropic's API."""

from typing import Final

from starlette.responses import Response

from services.edge.api.answers.json_answer import json_answer
from services.edge.api.answers.shapes import Problem
from services.edge.wires.anthropic import said_error

__all__ = ("anthropic_shape",)

_STATUSES: Final = {409: 400, 410: 404, 422: 400}
_KINDS: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def anthropic_shape(problem: Problem) -> Response:
    """Return the error; `x-should-retry` keeps the SDKs from repeating in vain what they would repeat."""
    status = _STATUSES.get(problem.status, problem.status)
    kind = _KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    headers = {"x-should-retry": "true" if problem.retryable else "false"} | dict(problem.headers)
    return json_answer(said_error(problem.code, problem.message, kind=kind), status, headers)
