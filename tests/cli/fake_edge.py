"""A small edge that does as it is told: the HTTP contract on a real socket, with faults between any two events."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

__all__ = ("ID", "NONCE", "FakeEdge", "Fault", "error", "fake_edge", "story")

ID = "0b" + "5" * 30
NONCE = "9f2c01ab"


@dataclass(frozen=True, slots=True)
class Fault:
    """Where a connection ends, counted in events of the whole stream, and how."""

    after: int
    how: str


@dataclass(slots=True)
class FakeEdge:
    """`log` is what all edges of one test share; each serves it from any cursor."""

    log: Sequence[dict[str, Any]]
    faults: list[Fault] = field(default_factory=list)
    refusals: list[web.Response] = field(default_factory=list)
    never_ends: bool = False
    url: str = ""
    created: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    cursors: list[str | None] = field(default_factory=list)
    readers: int = 0
    workers: Any = None
    stats: int = 0

    async def is_deserted(self) -> bool:
        return self.readers == 0

    async def create(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers["Idempotency-Key"])
        if self.refusals:
            return self.refusals.pop(0)
        self.created.append(await request.json())
        return web.json_response({"id": ID, "status": "queued", "events_url": f"/v1/streams/{ID}/events"}, status=201)

    async def providers(self, _: web.Request) -> web.Response:
        models = ["gpt-*", "smollm2"]
        return web.json_response({"providers": [{"name": "local", "dialect": "openai", "models": models}]})

    async def statistics(self, _: web.Request) -> web.Response:
        self.stats += 1
        return web.json_response({"workers": self.workers})

    async def cancel(self, request: web.Request) -> web.Response:
        self.cancelled.append(request.match_info["id"])
        return web.json_response({"id": request.match_info["id"], "status": "cancelling"}, status=202)

    async def events(self, request: web.Request) -> web.StreamResponse:
        cursor = request.headers.get("Last-Event-ID")
        self.cursors.append(cursor)
        if self.refusals:
            return self.refusals.pop(0)
        if request.match_info["id"] != ID:
            return error(404, "unknown_stream", "There is no such stream.")
        position = 0 if cursor is None else int(cursor.split("-")[1].split(".")[0])
        if position == len(self.log) and not self.never_ends:
            return web.Response(status=204)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        await response.write(b"retry: 10\n\n: hb\n\n")
        self.readers += 1
        try:
            await self._send(request, response, position, is_new=cursor is None)
        finally:
            self.readers -= 1
        return response

    async def ready(self, _: web.Request) -> web.Response:
        return self.refusals.pop(0) if self.refusals else web.json_response({"ready": True})

    async def _send(self, request: web.Request, response: web.StreamResponse, position: int, *, is_new: bool) -> None:
        if is_new:
            await response.write(frame(None, {"type": "start", "stream": ID, "model": "smollm2", "created_ms": 1}))
        for number, event in enumerate(self.log[position:], position + 1):
            if await self._fails(request, response, number - 1):
                return
            await response.write(frame(f"1-{number}.{NONCE}", event))
        if self.never_ends:
            await asyncio.Event().wait()

    async def _fails(self, request: web.Request, response: web.StreamResponse, sent: int) -> bool:
        fault = next((fault for fault in self.faults if fault.after == sent), None)
        if fault is None:
            return False
        self.faults.remove(fault)
        if fault.how == "reconnect":
            await response.write(frame(None, {"type": "reconnect", "retry_ms": 10}))
        if fault.how == "cut":
            # In the middle of an event: what has come of it must not count.
            await response.write(b'id: 9-9.ffffffff\ndata: {"type":"text","del')
            if request.transport is not None:
                request.transport.abort()
        return True


def frame(event_id: str | None, event: dict[str, Any]) -> bytes:
    name = f"id: {event_id}\n" if event_id else ""
    return f"{name}data: {json.dumps(event, ensure_ascii=False)}\n\n".encode()


def error(status: int, code: str, message: str, **headers: str) -> web.Response:
    body = {"error": {"code": code, "message": message, "retryable": status == 503}}
    return web.json_response(
        body, status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}
    )


def story(*words: str) -> list[dict[str, Any]]:
    """A stream of these words, with its usage and its end."""
    texts: list[dict[str, Any]] = [{"type": "text", "delta": word} for word in words]
    usage = {"type": "usage", "input_tokens": 3, "output_tokens": len(words), "total_tokens": 3 + len(words)}
    return [*texts, usage, {"type": "done", "finish_reason": "stop"}]


@asynccontextmanager
async def fake_edge(log: Sequence[dict[str, Any]], **options: Any) -> AsyncIterator[FakeEdge]:
    """An edge on a free port."""
    edge = FakeEdge(log, **options)
    app = web.Application()
    app.router.add_post("/v1/streams", edge.create)
    app.router.add_get("/v1/providers", edge.providers)
    app.router.add_get("/v1/streams/{id}/events", edge.events)
    app.router.add_post("/v1/streams/{id}/cancel", edge.cancel)
    app.router.add_get("/v1/stats", edge.statistics)
    app.router.add_get("/readyz", edge.ready)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        edge.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield edge
    finally:
        await runner.cleanup()
