"""Edges for tests, as processes of their own.

`python -m tests.support.edge` runs one without the protocol that hands its transport out: there every reader goes
through ASGI `send`, as on any other server.
"""

import http.client
import json
from collections.abc import Sequence
from typing import Any

import uvloop
from prometheus_client import CollectorRegistry

from services.edge.app import create_app
from services.edge.server import EdgeServer, listening_socket
from services.edge.wires.registry import WIRES, Wires
from shared.log.keys import Keyspace
from shared.queue.arq import ArqDispatcher, open_queue
from shared.settings.settings import Settings
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from shared.telemetry.logging import configure_logging
from tests.support.redis_server import free_port
from tests.support.service import Service, ours

__all__ = ("EdgeProcess", "running_edge", "serve_edge")


class EdgeProcess(Service):
    """One edge on loopback. With `is_plain` it offers no transport to write to."""

    def __init__(
        self,
        *,
        is_plain: bool = False,
        waits_for_redis: bool = True,
        program: Sequence[str] = ("-m", "services.cli", "edge"),
        plain_program: Sequence[str] = ("-m", "tests.support.edge"),
        **settings: str | float,
    ) -> None:
        self.port = free_port()
        self.host = str(settings.get("edge_host", "127.0.0.1"))
        self._ready_path = "/readyz" if waits_for_redis else "/livez"
        chosen = list(plain_program if is_plain else program)
        super().__init__(chosen, ours(**{"log_format": "json", "log_level": "info"} | settings, edge_port=self.port))

    def __repr__(self) -> str:
        return f"<EdgeProcess :{self.port}>"

    def is_ready(self) -> bool:
        return self.status(self._ready_path) == 200

    def status(self, path: str) -> int:
        """The status of a GET; 0 if nobody answers."""
        try:
            return self.get(path)[0]
        except OSError:
            return 0

    def get(self, path: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(self.host, self.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        is_json = answer.getheader("content-type", "").startswith("application/json")
        return answer.status, json.loads(body) if is_json else body

    def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        lines = self.get("/metrics")[1].decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith((f"{name} ", f"{name}{{")))

    @property
    def readers(self) -> int:
        return int(self.metric("tailrace_edge_readers"))


def running_edge(*, is_plain: bool = False, waits_for_redis: bool = True, **settings: Any) -> EdgeProcess:
    """An edge to be entered with `with`. Settings as in `Settings`: `redis_url="…", retry_ms=50`."""
    return EdgeProcess(is_plain=is_plain, waits_for_redis=waits_for_redis, **settings)


async def serve_edge(wires: Wires = WIRES, *, is_plain: bool) -> None:
    """Serve an edge with these wires until it is stopped."""
    settings = Settings.load()
    configure_logging(settings, process="test-edge")
    store = RedisStore(open_client(settings.redis_url), Keyspace(settings.prefix))
    queue = open_queue(settings.queue_url or settings.redis_url, prefix=settings.prefix, timeout_s=5)
    dispatcher = ArqDispatcher(queue)
    server = EdgeServer(create_app(settings, store, dispatcher, registry=CollectorRegistry(), wires=wires), settings)
    if is_plain:
        server.config.http = "httptools"
    try:
        await server.serve(sockets=[listening_socket(settings)])
    finally:
        await dispatcher.aclose()
        await store.aclose()


if __name__ == "__main__":
    uvloop.run(serve_edge(is_plain=True))
