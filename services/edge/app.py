"""The edge as an ASGI application. Everything is built in the lifespan and owned by one exit stack."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from services.edge.api import operations, routes
from services.edge.api.answers import problems
from services.edge.api.answers.shapes import Shapes
from services.edge.api.answers.state import StateResponses
from services.edge.api.answers.whole_answer import WholeAnswers
from services.edge.api.foreign import FOREIGN_APIS
from services.edge.api.readiness import Readiness
from services.edge.api.several import routes as several
from services.edge.delivery.delivery import Delivery
from services.edge.pages import chat, reference
from services.edge.streams import Streams
from services.edge.threads import Threads
from services.edge.wires.registry import WIRES, Wires
from shared.queue.dispatcher import Dispatcher
from shared.settings.settings import Settings
from shared.store.store import Store
from shared.telemetry.metrics import Metrics

__all__ = ("create_app",)

_DESCRIPTION = """\
Completion streams that cannot be lost. `POST /v1/streams` asks a model; `GET /v1/streams/{id}/events` reads the answer
as server-sent events or NDJSON, from any edge, from any cursor. Every event has an id; send the last one you saw as
`Last-Event-ID` and you get exactly what you lack."""


def create_app(
    settings: Settings,
    store: Store,
    dispatcher: Dispatcher,
    *,
    registry: CollectorRegistry,
    version: str = "0.1.0",
    wires: Wires = WIRES,
) -> FastAPI:
    """The application over a store and a dispatcher, which stay the caller's to close."""
    metrics = Metrics.on(registry)
    delivery = Delivery(store, settings, metrics, wires=wires)
    streams = Streams(store, dispatcher, delivery, settings)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            runs = (delivery.run(), store.watch(), dispatcher.watch(), streams.dispatching.run())
            tasks = [group.create_task(part) for part in runs]
            yield
            for task in tasks:
                task.cancel()

    app = FastAPI(
        title="Tailrace",
        version=version,
        description=_DESCRIPTION,
        lifespan=lifespan,
        # FastAPI's own page asks a CDN for its script, and has one in its markup.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        # A redirect would be made from the Host header, which is anybody's.
        redirect_slashes=False,
    )
    app.state.settings, app.state.store, app.state.registry, app.state.metrics = settings, store, registry, metrics
    app.state.delivery, app.state.wires = delivery, wires
    app.state.states = StateResponses(store, settings)
    app.state.whole_answers = WholeAnswers(store, settings)
    app.state.shapes = Shapes(FOREIGN_APIS)
    app.state.readiness = Readiness(store, settings)
    app.state.streams, app.state.threads = streams, Threads(store, settings)
    app.include_router(routes.router)
    app.include_router(several.router)
    app.include_router(operations.router)
    for api in FOREIGN_APIS:
        app.include_router(api.router, include_in_schema=False)  # described by those whose API it is
    problems.install(app)
    chat.install(app)
    if settings.docs:
        reference.install(app)
    return app
