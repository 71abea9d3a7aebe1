"""Routes for whoever runs the edge: is it alive, may it get traffic, how is it doing."""

import logging

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

from services.edge.api.problems import problem
from shared.errors import StoreError
from shared.log.events import json_line

__all__ = ("router",)

logger = logging.getLogger(__name__)

router = APIRouter()


@router.head("/livez", include_in_schema=False)
@router.get("/livez", response_class=Response)
async def livez() -> Response:
    """The process answers. Never touches Redis: a broken Redis is no reason to restart an edge."""
    return Response(json_line({"alive": True}), media_type="application/json")


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", response_class=Response, responses={503: {"description": "Not ready; the body says why."}})
async def readyz(request: Request) -> Response:
    """Whether a load balancer should send readers here."""
    state = request.app.state
    if state.streams.is_draining:
        return problem(503, "draining", "This edge is going away.", retryable=True)
    try:
        server = await state.store.server()
    except StoreError as error:
        return problem(503, error.code, error.text, retryable=True)
    if server.evicts and not state.settings.allow_eviction:
        # Refused at the start; but Redis may have been down then, or been told otherwise since.
        logger.error("Redis evicts keys (maxmemory-policy %s); this edge takes no readers", server.policy)
        return problem(503, "store_evicts", "The stream store may drop streams that are being read.", retryable=True)
    if not state.delivery.tail.is_healthy:
        return problem(503, "store_unavailable", "The tail has lost Redis and is reconnecting.", retryable=True)
    return Response(json_line({"ready": True}), media_type="application/json")


@router.get("/metrics", response_class=Response)
async def metrics(request: Request) -> Response:
    """Prometheus text format."""
    return Response(generate_latest(request.app.state.registry), media_type=CONTENT_TYPE_LATEST)
