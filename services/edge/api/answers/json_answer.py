"""Answers in JSON. They are of the moment and somebody's own, so nobody keeps them or takes them for something else."""

from collections.abc import Mapping
from typing import Final

from starlette.responses import Response

from shared.log.events import json_line

__all__ = ("JSON_HEADERS", "JSON_TYPE", "json_answer")

JSON_TYPE: Final = "application/json"
JSON_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


def json_answer(content: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(json_line(content), status, JSON_HEADERS | dict(headers or {}), media_type=JSON_TYPE)
