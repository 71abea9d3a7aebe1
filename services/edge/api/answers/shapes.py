"""Errors in the words of other people's APIs: on their paths every refusal has their shape, whoever made it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fastapi import APIRouter
from starlette.responses import Response

from services.edge.api.answers.json_answer import json_answer

__all__ = ("ErrorShape", "ForeignApi", "Problem", "Shapes", "our_shape")


@dataclass(frozen=True, slots=True)
class Problem:
    """A refusal, before it is given a shape. `more` is for our own shape; `param` names the field that is wrong."""

    status: int
    code: str
    message: str
    retryable: bool = False
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)


ErrorShape = Callable[[Problem], Response]


def our_shape(problem: Problem) -> Response:
    """Return the shape of PROTOCOL.md, P-6.2."""
    error = {"code": problem.code, "message": problem.message, "retryable": problem.retryable, **problem.more}
    return json_answer({"error": error}, problem.status, problem.headers)


class ForeignApi(NamedTuple):
    """The routes of one API that is not ours, and the shape of errors on its paths.

    A path that ends with a slash stands for all below it. Paths that no route has are named too: they are 404 in shape.
    """

    router: APIRouter
    paths: tuple[str, ...]
    shape: ErrorShape


class Shapes:
    """The shapes of errors by path."""

    def __init__(self, apis: Iterable[ForeignApi]) -> None:
        self._exact: dict[str, ErrorShape] = {}
        self._below: list[tuple[str, ErrorShape]] = []
        for api in apis:
            for path in api.paths:
                if path.endswith("/"):
                    self._below.append((path, api.shape))
                else:
                    self._exact[path] = api.shape

    def __repr__(self) -> str:
        return f"<Shapes {sorted(self._exact)} {[path for path, _ in self._below]}>"

    def of(self, path: str) -> ErrorShape:
        found = self._exact.get(path)
        if found is not None:
            return found
        return next((shape for prefix, shape in self._below if path.startswith(prefix)), our_shape)
