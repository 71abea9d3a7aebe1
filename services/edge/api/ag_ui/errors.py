"""Refusals as AG-UI's clients show them: what would have been the run's last event."""

from typing import Final

from starlette.responses import Response

from services.edge.api.answers.json_answer import json_answer
from services.edge.api.answers.shapes import Problem

__all__ = ("ag_ui_shape",)

_STATUSES: Final = {422: 400}


def ag_ui_shape(problem: Problem) -> Response:
    status = _STATUSES.get(problem.status, problem.status)
    return json_answer({"type": "RUN_ERROR", "message": problem.message, "code": problem.code}, status, problem.headers)
