"""A provider that does as it is told: OpenAI-compatible, on a real socket, in this process or in its own.

`python -m tests.support.provider --port 0` prints the port it listens on. What it says is in `script.py`. `GET /_seen`
tells what became of each request.
"""

import argparse
import asyncio
import json
import signal
import socket
import struct
import sys
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, cast

import orjson

from tests.support.agent import agent_steps, tool_of
from tests.support.script import Fault, Script, Step, expected_text, prefix_of, script_of, steps
from tests.support.waiting import eventually

__all__ = ("ScriptedProvider", "Seen", "scripted_provider")

_EVENT_STREAM = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
_REASONS = {200: "OK", 302: "Found"}
# Chunks between two turns of the loop when nothing else makes a fast answer wait.
_BURST = 8


@dataclass
class Seen:
    """What happened to one request. Times are the wall clock in ms."""

    key: str
    number: int
    prefix_bytes: int
    headers: dict[str, str] = field(repr=False)
    body: dict[str, Any] = field(repr=False)
    started_ms: float = field(default_factory=lambda: time.time() * 1000)
    chunks: int = 0
    bytes: int = 0
    finished: bool = False
    closed_ms: float | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event, repr=False)

    def public(self) -> dict[str, Any]:
        names = ("key", "number", "prefix_bytes", "started_ms", "chunks", "bytes", "finished", "closed_ms")
        return {name: getattr(self, name) for name in names}


class ScriptedProvider:
    """The server. `chunks` and `rate` are for prompts that are no script; `refusing` closes connections at accept."""

    def __init__(self, *, host: str = "127.0.0.1", chunks: int = 20, rate: float = 0) -> None:
        self.host = host
        self.default = Script("", chunks=chunks, rate=rate)
        self.seen: deque[Seen] = deque(maxlen=10_000)
        self.refusing = False
        self.models_status = 200
        self.port = 0
        self.requests: Counter[str] = Counter()
        self.connections: set[Connection] = set()
        self.accepted = 0
        self._server: asyncio.Server | None = None

    @property
    def base_url(self) -> str:
        return f"http://{self.host}:{self.port}/v1"

    async def start(self, port: int = 0) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), self.host, port, backlog=4096)
        self.port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        """Cut every connection, and raise what went wrong in any of them."""
        if self._server is not None:
            self._server.close()
        tasks = [connection.task for connection in self.connections if connection.task]
        for connection in list(self.connections):
            connection.transport.abort()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def last_seen(self) -> Seen:
        """The latest request, once there is one."""
        await eventually(self._has_seen)
        return self.seen[-1]

    async def _has_seen(self) -> bool:
        return bool(self.seen)


@asynccontextmanager
async def scripted_provider(
    *, host: str = "127.0.0.1", chunks: int = 20, rate: float = 0
) -> AsyncIterator[ScriptedProvider]:
    provider = ScriptedProvider(host=host, chunks=chunks, rate=rate)
    await provider.start()
    try:
        yield provider
    finally:
        await provider.aclose()


class Connection(asyncio.Protocol):
    """One client: requests in, one task at a time to answer them."""

    def __init__(self, provider: ScriptedProvider) -> None:
        self.provider = provider
        self.task: asyncio.Task[None] | None = None
        self.seen: Seen | None = None
        self._received = bytearray()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.provider.accepted += 1
        if self.provider.refusing:
            self.reset()
            return
        self.provider.connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:
        self.provider.connections.discard(self)
        if self.seen is not None and not self.seen.finished:
            self.seen.closed_ms = time.time() * 1000
            self.seen.over.set()
        if self.task is not None:
            self.task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def reset(self) -> None:
        sock: socket.socket = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    async def write(self, data: bytes) -> None:
        self.transport.write(data)
        if self.seen is not None:
            self.seen.bytes += len(data)
        await self._writable.wait()

    def head(self, status: int, headers: Mapping[str, str]) -> bytes:
        lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode()

    async def answer(self, status: int, content_type: str, body: bytes, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        fields = {"Content-Type": content_type, "Content-Length": str(len(body)), **named}
        await self.write(self.head(status, fields) + body)

    def _next(self) -> None:
        """Start on the next request that has come in whole."""
        if self.task is not None or b"\r\n\r\n" not in self._received:
            return
        head, _, rest = bytes(self._received).partition(b"\r\n\r\n")
        request_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            return
        self._received = bytearray(rest[length:])
        path = request_line.split(" ")[1]
        self.task = asyncio.get_running_loop().create_task(self._serve(path, headers, rest[:length]))
        self.task.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception():
            self.transport.abort()
            return
        self.task = None
        self._next()

    async def _serve(self, path: str, headers: dict[str, str], body: bytes) -> None:
        if path == "/v1/models":
            models = {"object": "list", "data": [{"id": "scripted", "object": "model"}]}
            await self.answer(self.provider.models_status, "application/json", orjson.dumps(models))
        elif path == "/_seen":
            seen = [seen.public() for seen in self.provider.seen]
            await self.answer(200, "application/json", orjson.dumps(seen))
        elif path == "/v1/chat/completions":
            await self._complete(headers, orjson.loads(body))
        else:
            await self.answer(404, "application/json", b'{"error":{"message":"no such path"}}')

    async def _complete(self, headers: dict[str, str], body: dict[str, Any]) -> None:
        if "messages" not in body:
            await self.answer(400, "application/json", b'{"error":{"message":"messages: required"}}')
            return
        script = script_of(body["messages"]) or self._improvised(body)
        said = prefix_of(body["messages"])
        number = self.provider.requests[script.key]
        self.provider.requests[script.key] += 1
        self.seen = Seen(script.key, number, len(said.encode()), headers, body)
        self.provider.seen.append(self.seen)
        await Performance(self, script, body, said=said, number=number).run()
        self.seen.finished = True
        self.seen.over.set()

    def _improvised(self, body: dict[str, Any]) -> Script:
        key = blake2b(orjson.dumps(body["messages"][-1:]), digest_size=8).hexdigest()
        return Script(key, chunks=self.provider.default.chunks, rate=self.provider.default.rate)


class Performance:
    """One answer, with its fault."""

    def __init__(self, connection: Connection, script: Script, body: dict[str, Any], *, said: str, number: int) -> None:
        self._connection = connection
        self._script = script
        self._body = body
        self._said = said
        self._attempt = _attempt_of(script, said, number)
        fault = script.fault
        self._fault = fault if fault and (not fault.times or number < fault.times) else Fault("none")
        self._sent = 0
        self._has_called = False

    async def run(self) -> None:
        if await self._failed_at_once():
            return
        headers = {**_EVENT_STREAM, "Transfer-Encoding": "chunked"}
        await self._connection.write(self._connection.head(200, headers))
        await self._event(self._choice({"role": "assistant", "content": ""}))
        started = asyncio.get_running_loop().time()
        for step in self._steps():
            if self._sent == self._fault.after and await self._failed():
                return
            await self._pace(started)
            await self._event(self._chunk(step))
            self._sent += 1
            if self._connection.seen is not None:
                self._connection.seen.chunks = self._sent
        if self._sent == self._fault.after and await self._failed():
            return
        await self._end()

    def _steps(self) -> Iterator[Step]:
        if self._script.kinds == "agent":
            return agent_steps(self._body)
        return steps(self._script, attempt=self._attempt, said=self._said)

    async def _failed_at_once(self) -> bool:
        """Whether the fault stands in the place of an answer."""
        connection, fault = self._connection, self._fault
        if fault.kind == "hangup":
            connection.transport.abort()
        elif fault.kind == "slow_header":
            await _for_ever()
        elif fault.kind == "status":
            after = {"Retry_After": fault.retry_after} if fault.retry_after is not None else {}
            await connection.answer(fault.status, "application/json", self._error_body(), **after)
        elif fault.kind == "redirect":
            await connection.answer(302, "text/html", b"", Location=f"{self._connection.provider.base_url}/models")
        elif fault.kind == "html":
            await connection.answer(200, "text/html", b"<html><h1>Welcome to nginx!</h1></html>")
        elif fault.kind == "json_error":
            await connection.answer(200, "application/json", self._error_body())
        else:
            return False
        return True

    async def _failed(self) -> bool:
        """Whether the fault ended the answer here, in the middle."""
        connection, kind = self._connection, self._fault.kind
        if kind == "silence":
            await _for_ever()
        elif kind == "comments":
            while True:
                await self._bytes(b": still here\n\n")
                await asyncio.sleep(0.01)
        elif kind in {"cut", "reset"}:
            event = self._framed(orjson.dumps(self._choice({"content": "never to be seen"})))
            await self._bytes(event[: len(event) // 2])
            connection.transport.close() if kind == "cut" else connection.reset()
        elif kind == "bad_chunking":
            await connection.write(b"zzz\r\nthis is no chunk\r\n")
        elif kind == "eof":
            await connection.write(b"0\r\n\r\n")
        elif kind == "error_frame":
            await self._event({"id": "x", "error": orjson.loads(self._error_body())["error"], "choices": []})
            await self._done()
        elif kind == "error_event":
            await self._bytes(b'event: error\ndata: {"message":"overloaded"}\n\n')
            await self._done()
        elif kind == "error_reason":
            await self._event(self._choice({"content": ""}, "error"))
            await self._done()
        elif kind == "malformed":
            await self._bytes(self._framed(b'{"choices": [{"delta": nonsense'))
            await self._done()
        else:
            return False
        return True

    async def _end(self) -> None:
        kind = self._fault.kind
        if kind != "no_finish":
            await self._event(self._choice({}, self._finish_reason()))
        if kind == "no_trailer":
            await _for_ever()
        if kind == "after_finish":
            await self._event(self._choice({"content": "an afterthought"}, "length"))
        if self._script.usage and (self._body.get("stream_options") or {}).get("include_usage"):
            await self._event({**self._base(), "choices": [], "usage": self._usage()})
        if kind != "no_done":
            await self._bytes(self._framed(b"[DONE]"))
        if kind == "done_twice":
            await self._bytes(self._framed(b"[DONE]"))
        while kind == "after_done":
            await self._event(self._choice({"content": "an afterthought"}))
            await asyncio.sleep(0)
        await self._connection.write(b"0\r\n\r\n")

    async def _done(self) -> None:
        await self._bytes(self._framed(b"[DONE]"))
        await self._connection.write(b"0\r\n\r\n")

    async def _pace(self, started: float) -> None:
        if self._script.rate:
            due = started + (self._sent + 1) / self._script.rate
            await asyncio.sleep(due - asyncio.get_running_loop().time())
        elif self._sent % _BURST == 0:
            await asyncio.sleep(0)

    async def _event(self, chunk: dict[str, Any]) -> None:
        await self._bytes(self._framed(_dumped(chunk, plainly=bool(self._sent % 2))))

    async def _bytes(self, data: bytes) -> None:
        size = self._script.split or len(data)
        for start in range(0, len(data), size):
            part = data[start : start + size]
            await self._connection.write(b"%x\r\n%s\r\n" % (len(part), part))
            if self._script.split:
                await asyncio.sleep(self._script.pause_s)

    def _framed(self, data: bytes) -> bytes:
        newline = self._script.newline.encode()
        return b"data: " + data + newline + newline

    def _chunk(self, step: Step) -> dict[str, Any]:
        if step.kind == "text":
            return self._choice({"content": step.text})
        if step.kind == "reasoning":
            return self._choice({"reasoning_content": step.text})
        call: dict[str, Any] = {"index": 0, "function": {"arguments": step.text}}
        self._has_called = True
        if step.text.startswith('{"'):
            call |= {"id": f"call_{self._script.key}", "type": "function"}
            call["function"]["name"] = tool_of(self._body) if self._script.kinds == "agent" else "search"
        return self._choice({"tool_calls": [call]})

    def _choice(self, delta: dict[str, Any], finish_reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return {**self._base(), "choices": [choice], "usage": None}

    def _base(self) -> dict[str, Any]:
        name = f"chatcmpl-{self._script.key}"
        return {"id": name, "object": "chat.completion.chunk", "created": 1760000000, "model": self._body["model"]}

    def _usage(self) -> dict[str, Any]:
        prompt = len(self._body["messages"])
        total = {"prompt_tokens": prompt, "completion_tokens": self._sent, "total_tokens": prompt + self._sent}
        return total | {"prompt_tokens_details": {"cached_tokens": 0}}

    def _finish_reason(self) -> str:
        return "tool_calls" if self._has_called or self._script.kinds == "mixed" else self._script.finish

    def _error_body(self) -> bytes:
        # As providers do: the answer to a mistake quotes what was sent.
        headers = self._connection.seen.headers if self._connection.seen else {}
        message = f"no: {headers} {self._body['messages']}"
        return orjson.dumps({"error": {"message": message, "code": self._fault.status}})


def _attempt_of(script: Script, said: str, number: int) -> int:
    """The attempt whose text a continued answer belongs to; a new answer is an attempt of its own."""
    if not said or not script.vary:
        return number
    return next((n for n in range(number) if expected_text(script, attempt=n).startswith(said)), number)


def _dumped(chunk: dict[str, Any], *, plainly: bool) -> bytes:
    """Half of the world's providers escape what is not ASCII. Nobody but `json` writes a lone surrogate."""
    if plainly:
        return json.dumps(chunk).encode()
    try:
        return orjson.dumps(chunk)
    except orjson.JSONEncodeError:
        return json.dumps(chunk).encode()


async def _for_ever() -> None:
    await asyncio.get_running_loop().create_future()


async def _main() -> None:
    parser = argparse.ArgumentParser(description="A scripted OpenAI-compatible provider.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument(
        "--rate", type=float, default=0, help="chunks a second of a prompt that is no script; 0: no pause"
    )
    parser.add_argument("--chunks", type=int, default=20, help="chunks of a prompt that is no script")
    arguments = parser.parse_args()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    host, chunks, rate = arguments.host, arguments.chunks, arguments.rate
    async with scripted_provider(host=host, chunks=chunks, rate=rate) as provider:
        sys.stdout.write(f"{provider.port}\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(_main())
