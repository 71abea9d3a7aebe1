"""Errors as the AI SDK shows them: it takes the whole body for the message."""

from typing import Final

from starlette.responses import Response

from services.edge.api.answers.json_answer import JSON_HEADERS
from services.edge.api.answers.shapes import Problem

__all__ = ("ai_sdk_shape",)

_TYPE: Final = "text/plain; charset=utf-8"
_STATUSES: Final = {422: 400}


def ai_sdk_shape(problem: Problem) -> Response:
    """Return the sentence; the code is in `x-tailrace-error`, for those who look there."""
    headers = JSON_HEADERS | dict(problem.headers) | {"x-tailrace-error": problem.code}
    return Response(problem.message, _STATUSES.get(problem.status, problem.status), headers, media_type=_TYPE)
