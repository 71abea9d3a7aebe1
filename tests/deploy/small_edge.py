"""A small server with an edge's addresses that does exactly what a test tells it to, so that only nginx is tested."""

import asyncio
from types import TracebackType
from typing import Self

from aiohttp import web
from aiohttp.typedefs import Handler

__all__ = ("SmallEdge",)


class SmallEdge:
    """One upstream on a free port. An event is sent when `pace` allows it, never by time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.port = 0
        self.draining = False
        self.dies_in_create = False
        self.pace = asyncio.Semaphore(1)
        self.left = asyncio.Event()
        self.requests: list[web.Request] = []
        self._runner = web.AppRunner(self._application(), handler_cancellation=True, shutdown_timeout=0)

    def __repr__(self) -> str:
        return f"<SmallEdge {self.name} :{self.port} requests={len(self.requests)}>"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def paths(self) -> list[str]:
        return [f"{request.method} {request.path_qs}" for request in self.requests]

    @property
    def connections(self) -> int:
        """How many connections its requests came on."""
        return len({id(request.protocol) for request in self.requests})

    def sent(self, header: str) -> list[str | None]:
        return [request.headers.get(header) for request in self.requests]

    async def kill(self) -> None:
        """As `kill -9` would: nobody is told, every connection is cut, nobody listens any more."""
        for site in list(self._runner.sites):
            await site.stop()
        self._cut_connections()

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cut_connections()
        await self._runner.cleanup()

    def _cut_connections(self) -> None:
        for protocol in self._runner.server.connections if self._runner.server else ():
            if protocol.transport is not None:
                protocol.transport.abort()

    def _application(self) -> web.Application:
        # Its own bound is out of the way: nginx's is tested.
        application = web.Application(client_max_size=64 * 1024 * 1024, middlewares=[self._record])
        application.router.add_get("/v1/streams/{id}/events", self._events)
        application.router.add_get("/v1/streams/{id}/ws", self._socket)
        application.router.add_post("/v1/streams", self._create)
        application.router.add_route("*", "/{path:.*}", self._other)
        return application

    @web.middleware
    async def _record(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.requests.append(request)
        return await handler(request)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if self.draining:
            return self._refusal()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            await self._stream(response, after=int(request.headers.get("Last-Event-ID", "0")))
        except asyncio.CancelledError:
            self.left.set()
            raise
        return response

    async def _stream(self, response: web.StreamResponse, *, after: int) -> None:
        while True:
            await self.pace.acquire()
            after += 1
            await response.write(f"id: {after}\ndata: {self.name}\n\n".encode())

    async def _socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(f"{self.name} {message.data}")
        return socket

    async def _create(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        if self.dies_in_create:
            self._cut_connections()
        return self._refusal() if self.draining else web.json_response({"edge": self.name}, status=201)

    async def _other(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        if self.dies_in_create and request.method == "POST":
            self._cut_connections()
        return web.Response(text=self.name * 1000, content_type="text/css")

    def _refusal(self) -> web.Response:
        error = {"error": {"code": "draining", "message": self.name, "retryable": True}}
        return web.json_response(error, status=503, headers={"Retry-After": "7"})
