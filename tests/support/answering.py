"""A provider that answers each request with what a test says: any status, any headers, any bytes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

__all__ = ("Answering", "Reply", "answering_provider", "said")


@dataclass(frozen=True, slots=True)
class Reply:
    """One response. If it `breaks` it is cut after `body`, if it `stalls` nothing follows that."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    breaks: bool = False
    stalls: bool = False


@dataclass
class Answering:
    """The server. `requests` are the bodies that came, `heads` their headers; `answer` is told how many came before."""

    answer: Callable[[dict[str, Any], int], Reply]
    port: int = 0
    requests: list[dict[str, Any]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        sizes = [line.partition(":")[2] for line in head.split("\r\n") if line.lower().startswith("content-length")]
        body = orjson.loads(await reader.readexactly(int(sizes[0]))) if sizes else {}
        number = len(self.requests)
        self.requests.append(body)
        self.heads.append(head)
        reply = self.answer(body, number)
        size = len(reply.body) + reply.breaks + reply.stalls
        headers = {"Content-Type": "application/json", "Content-Length": str(size), **reply.headers}
        lines = [f"HTTP/1.1 {reply.status} Status", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode() + reply.body)
        await writer.drain()
        if reply.stalls:
            await reader.read()
        return not (reply.breaks or reply.stalls)


def said(*texts: str, finish: str | None = "stop", **reply: Any) -> Reply:
    """An answer in these deltas; without `finish` it breaks off."""
    choices: list[dict[str, Any]] = [{"index": 0, "delta": {"content": text}} for text in texts]
    choices += [{"index": 0, "delta": {}, "finish_reason": finish}] if finish else []
    frames = [b"data: " + orjson.dumps({"choices": [choice]}) + b"\n\n" for choice in choices]
    body = b"".join([*frames, b"data: [DONE]\n\n"] if finish else frames)
    return Reply(body=body, headers={"Content-Type": "text/event-stream"}, breaks=finish is None, **reply)


@asynccontextmanager
async def answering_provider(*replies: Reply | Callable[[dict[str, Any]], Reply]) -> AsyncIterator[Answering]:
    """A server that gives these replies in turn, the last one again and again."""

    def answer(body: dict[str, Any], number: int) -> Reply:
        reply = _of(replies, number)
        return reply if isinstance(reply, Reply) else reply(body)

    provider = Answering(answer)
    server = await asyncio.start_server(provider.serve, "127.0.0.1", 0)
    provider.port = server.sockets[0].getsockname()[1]
    try:
        yield provider
    finally:
        server.close()


def _of(
    replies: Sequence[Reply | Callable[[dict[str, Any]], Reply]], number: int
) -> Reply | Callable[[dict[str, Any]], Reply]:
    return replies[min(number, len(replies) - 1)]
