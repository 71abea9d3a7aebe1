"""Errors as answers: a code and a sentence, never a traceback, a prompt, a key or a provider's text."""

import logging
import math

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from services.edge.api.answers.shapes import Problem, Shapes
from shared.errors import InvalidBody, InvalidRequest, StreamExpired, TailraceError

__all__ = ("answer", "explain", "install", "problem", "unexpected")

logger = logging.getLogger(__name__)

_HTTP_CODES = {404: "not_found", 405: "method_not_allowed", 400: "invalid_request", 413: "body_too_large"}


def install(app: FastAPI) -> None:
    """Give every error of ours, of FastAPI's and of nobody's the one shape."""
    app.add_exception_handler(TailraceError, answer)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, unexpected)


def problem(request: Request, found: Problem) -> Response:
    """Return the refusal in the shape of the API that was asked."""
    shapes: Shapes = request.app.state.shapes
    return shapes.of(request.url.path)(found)


def explain(error: ValidationError | RequestValidationError) -> str:
    """Return the place and the kind of a fault in a body, without repeating what was sent."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part != "body")
    more = len(error.errors()) - 1
    tail = f" (and {more} more)" if more else ""
    return f"{where or 'body'}: {first['msg']}{tail}"


async def answer(request: Request, error: Exception) -> Response:
    """Return the response for one of our own errors."""
    assert isinstance(error, TailraceError)
    if error.status >= 500:
        logger.warning("%s: %s", error.code, error.message)
    retry_after_s = error.retry_after_s or (1 if error.status == 503 else None)
    headers = {"Retry-After": str(math.ceil(retry_after_s))} if retry_after_s else None
    more = {"gone_ms": error.gone_ms} if isinstance(error, StreamExpired) and error.gone_ms else {}
    # What a store or an internal error says of itself is for the log; the reader gets the class's sentence.
    message = error.message if error.status < 500 else error.text
    param = error.param if isinstance(error, InvalidRequest) else None
    found = Problem(
        error.status, error.code, message, retryable=error.retryable, param=param, headers=headers or {}, more=more
    )
    return problem(request, found)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return problem(request, Problem(InvalidBody.status, InvalidBody.code, explain(error)))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _HTTP_CODES.get(error.status_code, "http_error")
    return problem(request, Problem(error.status_code, code, str(error.detail), headers=dict(error.headers or {})))


async def unexpected(request: Request, error: Exception) -> Response:
    """Return the response for any other error."""
    # Starlette logs the traceback of what comes here; the reader learns that it was not the reader's fault.
    return problem(request, Problem(TailraceError.status, TailraceError.code, TailraceError.text))
