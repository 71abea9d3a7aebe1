"""Errors in the shape of OpenAI's API, and what its clients have to be told beside it."""

from typing import Final

from starlette.responses import Response

from services.edge.api.answers.json_answer import json_answer
from services.edge.api.answers.shapes import Problem
from services.edge.wires.openai_chat import said_error

__all__ = ("openai_shape",)

_STATUSES: Final = {410: 404, 422: 400}
_CODES: Final = {"unknown_model": "model_not_found", "not_found": "unknown_url"}
_KINDS: Final = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def openai_shape(problem: Problem) -> Response:
    """Return the error; `x-should-retry` keeps the SDKs from repeating in vain what they would repeat."""
    status = _STATUSES.get(problem.status, problem.status)
    kind = _KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    code = _CODES.get(problem.code, problem.code)
    body = said_error(code, problem.message, kind=kind, param=problem.param)
    headers = {"x-should-retry": "true" if problem.retryable else "false"} | dict(problem.headers)
    return json_answer(body, status, headers)
