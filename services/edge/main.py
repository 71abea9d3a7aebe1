"""One edge, put together: its store, its queue, its application and its server."""

from contextlib import AsyncExitStack

from prometheus_client import CollectorRegistry

from services.edge.access.bind import refuse_open_bind
from services.edge.app import create_app
from services.edge.server import serve
from shared.queue.arq import ArqDispatcher, open_queue
from shared.settings.settings import Settings
from shared.store.redis.store import open_store

__all__ = ("run",)


async def run(settings: Settings, *, registry: CollectorRegistry, version: str) -> None:
    """Serve until a signal stops it. Raises `OSError` if the port is taken, `InvalidConfiguration` if it may not be."""
    refuse_open_bind(settings)
    async with AsyncExitStack() as stack:
        store = open_store(settings)
        stack.push_async_callback(store.aclose)
        queue_url = settings.queue_url or settings.redis_url
        queue = open_queue(queue_url, prefix=settings.prefix, timeout_s=settings.redis_timeout_s)
        dispatcher = ArqDispatcher(queue)
        stack.push_async_callback(dispatcher.aclose)
        await serve(create_app(settings, store, dispatcher, registry=registry, version=version), settings)
