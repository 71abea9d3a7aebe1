"""One edge, one worker or one model in the foreground: from settings to a clean stop."""

import asyncio
import gc
import logging
from collections.abc import Coroutine
from importlib.metadata import version
from typing import Any

from services.console.exit_code import ExitCode
from services.console.failure import Failure
from shared.settings.settings import Settings

__all__ = ("edge", "model", "worker")

logger = logging.getLogger(__name__)


def edge(settings: Settings) -> ExitCode:
    """Run an edge until a signal stops it. Raises `Failure` if its port is taken or Redis would evict."""
    _run(_edge(settings), settings, process=f"edge-{settings.edge_port}")
    return ExitCode.OK


def worker(settings: Settings) -> ExitCode:
    """Run a worker until a signal stops it. Raises `Failure` if Redis would evict."""
    _run(_worker(settings), settings, process="worker")
    return ExitCode.OK


def model(settings: Settings, host: str, port: int) -> ExitCode:
    """Serve the built-in model until a signal stops it. Raises `Failure` if it is not installed."""
    from services.local.model import serve_model
    from shared.telemetry.logging import configure_logging

    configure_logging(settings, process="model")
    serve_model(host, port)
    return ExitCode.OK


def _run(main: Coroutine[Any, Any, None], settings: Settings, *, process: str) -> None:
    import uvloop

    from shared.descriptors import raise_limit
    from shared.telemetry.logging import configure_logging

    configure_logging(settings, process=process)
    raise_limit()
    _tame_collector()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)


def _tame_collector() -> None:
    """Look for cycles seldom, and never among what was loaded at the start.

    By default every wave of connections makes Python walk over all objects of all connections again and again: 29 % of
    an edge's CPU while 1,500 readers came. A connection leaves no cycles behind.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


async def _edge(settings: Settings) -> None:
    from services.edge.main import run
    from shared.telemetry.metrics import process_registry

    await _refuse_eviction(settings)
    try:
        await run(settings, registry=process_registry(), version=version("tailrace"))
    except OSError as error:
        place = f"{settings.edge_host}:{settings.edge_port}"
        raise Failure(f"cannot listen on {place}: {error.strerror}", hint="tailrace edge --port …") from error


async def _worker(settings: Settings) -> None:
    from services.worker.main import run
    from shared.telemetry.metrics import process_registry

    await _refuse_eviction(settings)
    await run(settings, registry=process_registry(), version=version("tailrace"))


async def _refuse_eviction(settings: Settings) -> None:
    """A Redis that evicts loses streams in silence, so nothing runs on it unasked. One that is down may come later."""
    from services.cli.checks.redis import eviction
    from shared.errors import StoreError
    from shared.store.redis.client import open_client
    from shared.store.redis.errors import mapping

    client = open_client(settings.redis_url, timeout_s=settings.redis_timeout_s)
    try:
        with mapping():
            finding = eviction(await client.info("memory"), is_allowed=settings.allow_eviction)
    except StoreError as error:
        logger.warning("Redis does not answer yet: %s", error.text)
        return
    finally:
        await client.aclose()
    if finding.status == "failed":
        raise Failure(finding.detail, hint=f"{finding.fix}; or TAILRACE_ALLOW_EVICTION=1")
    if finding.status == "warning":
        logger.warning(finding.detail)
