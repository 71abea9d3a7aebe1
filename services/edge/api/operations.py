"""Routes for whoever runs the edge: is it alive, may it get traffic, how is it doing."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from services.edge.api.answers.json_answer import JSON_HEADERS, json_answer
from services.edge.api.answers.problems import problem
from services.edge.api.answers.shapes import Problem
from services.edge.api.schemas import ErrorBody

__all__ = ("router",)

_READINESS: Final[dict[int | str, dict[str, Any]]] = {
    422: {"model": ErrorBody},
    503: {"model": ErrorBody, "description": "Not ready; the body says why."},
}

router = APIRouter()


@router.head("/livez", include_in_schema=False)
@router.get("/livez", response_class=Response)
async def livez() -> Response:
    """The process answers. Never touches Redis: a broken Redis is no reason to restart an edge."""
    return json_answer({"alive": True})


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", response_class=Response, responses=_READINESS)
async def readyz(
    request: Request, verbose: str | None = None, workers: Annotated[int, Query(ge=0, le=100_000)] = 0
) -> Response:
    """Return whether a load balancer should send readers here; with `?verbose` also which workers there are.

    With `?workers=1` an edge is ready only if that many workers take jobs: for clients that create. Readers need none.
    """
    state = request.app.state
    if state.streams.is_draining:
        return problem(request, Problem(503, "draining", "This edge is going away.", retryable=True))
    if (obstacle := await state.readiness.obstacle()) is not None:
        return problem(request, Problem(503, obstacle.code, obstacle.text, retryable=True))
    if not state.delivery.tail.is_healthy:
        return problem(
            request, Problem(503, "store_unavailable", "The tail has lost Redis and is reconnecting.", retryable=True)
        )
    said: dict[str, Any] = {"ready": True}
    seen = await state.streams.workforce.state() if workers or verbose is not None else None
    if workers and (seen is None or seen["count"] < workers):
        return problem(
            request, Problem(503, "no_worker", "Fewer workers take jobs than were asked for.", retryable=True)
        )
    if verbose is not None:
        said["workers"] = seen and {**seen, "seen": [_nameless(each) for each in seen["seen"]]}
    return json_answer(said)


def _nameless(worker: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without its id: anybody may ask for readiness, and a worker's name begins with that of its machine."""
    return {name: value for name, value in worker.items() if name != "id"}


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Prometheus text format."""
    await request.app.state.streams.workforce.state()  # sets the gauge of workers, and never raises
    return Response(generate_latest(request.app.state.registry), headers=JSON_HEADERS, media_type=CONTENT_TYPE_LATEST)


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> Response:
    """Return the routes' requests and responses as an OpenAPI document; `/docs` shows it."""
    return json_answer(request.app.openapi())
