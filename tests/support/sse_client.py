"""A reader that believes nothing: own sockets, HTTP, SSE and NDJSON parsers, and a `History` that checks every event.

It shares no code with the product, on purpose. What it asserts is PROTOCOL.md read by somebody else.
"""

import asyncio
import codecs
import json
import random
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any
from urllib.parse import quote

__all__ = (
    "NDJSON",
    "SSE",
    "Answer",
    "Broken",
    "History",
    "Item",
    "NdjsonParser",
    "SseParser",
    "answered",
    "collected",
    "follow",
    "opened",
    "request",
)

EVENT_ID = re.compile(r"([0-9]{1,16})-([0-9]{1,16})\.([0-9a-f]{8})")
LINE_END = re.compile("\r\n|\r|\n")
DELTAS = ("text", "reasoning", "refusal")
ENDINGS = ("done", "error", "cancelled")
ASIDES = ("reasoning_end", "annotation", "file")
JSON_TYPE = {"content-type": "application/json"}
NDJSON = "application/x-ndjson"
SSE = "text/event-stream"


class Broken(AssertionError):
    """The server broke the protocol."""


# Wires


@dataclass(frozen=True, slots=True)
class Item:
    """One thing on the wire: an event, a heartbeat (`data` is None), or a retry hint."""

    id: str | None = None
    data: dict[str, Any] | None = None
    retry_ms: int | None = None


class SseParser:
    """The event stream format of the HTML standard, section 9.2.6, fed with bytes cut anywhere."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("strict")
        self._text = ""
        self._id: str | None = None
        self._data: list[str] = []

    def feed(self, received: bytes) -> list[Item]:
        text = self._text + self._decoder.decode(received)
        # A return at the very end may be half of a line end; it waits for what comes next.
        held = "\r" if text.endswith("\r") else ""
        *lines, rest = LINE_END.split(text.removesuffix(held))
        self._text = rest + held
        return [item for line in lines for item in self._line(line)]

    def _line(self, line: str) -> list[Item]:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "id":
            self._id = value
        elif name == "retry":
            return [Item(retry_ms=int(value))]
        elif name == "":
            return [Item()]
        else:
            raise Broken(f"a field that is none of ours: {line[:200]!r}")
        return []

    def _dispatch(self) -> list[Item]:
        data, self._data = "\n".join(self._data), []
        event_id, self._id = self._id, None
        if not data:
            return []
        return [Item(event_id, json.loads(data))]


class NdjsonParser:
    """One JSON object a line."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, received: bytes) -> list[Item]:
        *lines, self._rest = (self._rest + received).split(b"\n")
        return [self._item(json.loads(line.decode())) for line in lines]

    def _item(self, event: dict[str, Any]) -> Item:
        if event["type"] == "heartbeat":
            return Item()
        event_id = event.pop("event_id", None)
        return Item(event_id, event)


# HTTP


@dataclass(slots=True)
class Answer:
    """An HTTP response. `is_complete` turns true when its body has come to its proper end."""

    status: int
    headers: dict[str, str]
    reader: asyncio.StreamReader = field(repr=False)
    method: str = "GET"
    is_complete: bool = False

    async def body(self) -> AsyncIterator[bytes]:
        """The body as it comes, without its transfer coding; ends early if the connection is cut."""
        if self.method == "HEAD" or self.status in {204, 304}:
            self.is_complete = True
        elif self.headers.get("transfer-encoding") == "chunked":
            async for part in self._chunks():
                yield part
        elif "content-length" in self.headers:
            yield await self.reader.readexactly(int(self.headers["content-length"]))
            self.is_complete = True
        else:
            while part := await self.reader.read(65536):
                yield part
            self.is_complete = True

    async def read(self) -> bytes:
        return b"".join([part async for part in self.body()])

    async def json(self) -> Any:
        return json.loads(await self.read())

    async def items(self) -> AsyncIterator[Item]:
        """The body as events, by its content type."""
        is_ndjson = self.headers["content-type"].startswith(NDJSON)
        parser = NdjsonParser() if is_ndjson else SseParser()
        async for part in self.body():
            for item in parser.feed(part):
                yield item

    async def _chunks(self) -> AsyncIterator[bytes]:
        while True:
            try:
                size = int((await self.reader.readuntil(b"\r\n")).rstrip(), 16)
                data = await self.reader.readexactly(size + 2)
            except (asyncio.IncompleteReadError, ConnectionError):
                return  # cut, within a chunk or between two
            if data[-2:] != b"\r\n":
                raise Broken("a chunk does not end where it says")
            if size == 0:
                self.is_complete = True
                return
            yield data[:-2]


def request(
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: object = None,
    version: str = "1.1",
) -> bytes:
    """A request as bytes. `body` is sent as it is if it is bytes, as JSON otherwise."""
    fields = {"host": "localhost"} | dict(headers or {})
    raw = b""
    if body is not None:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = JSON_TYPE | {"content-length": str(len(raw))} | fields
    lines = [f"{method} {path} HTTP/{version}", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + raw


async def answered(reader: asyncio.StreamReader, method: str = "GET") -> Answer:
    """The head of the next response on a connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status_line, *lines = head.rstrip("\r\n").split("\r\n")
    pairs = [line.split(": ", 1) for line in lines]
    names = [name.lower() for name, _ in pairs]
    if len(set(names)) != len(names):
        raise Broken(f"a header twice: {names}")
    headers = {name.lower(): value for name, value in pairs}
    return Answer(int(status_line.split(" ")[1]), headers, reader, method)


@asynccontextmanager
async def opened(
    port: int,
    method: str,
    path: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: object = None,
    version: str = "1.1",
    within_s: float = 15.0,
    host: str = "127.0.0.1",
) -> AsyncIterator[Answer]:
    """Connect, ask, and hold the response; the connection is aborted at the end, wherever the body is then."""
    async with asyncio.timeout(within_s):
        reader, writer = await asyncio.open_connection(host, port, limit=2**20)
    try:
        writer.write(request(method, path, headers=headers, body=body, version=version))
        async with asyncio.timeout(within_s):
            answer = await answered(reader, method)
        yield answer
    finally:
        writer.transport.abort()


class _Collector(asyncio.Protocol):
    """Keeps bytes and looks at nothing but their end: a hundred of these must not slow down what they test."""

    def __init__(self, wanted: bytes) -> None:
        self.received = bytearray()
        self.is_over = asyncio.get_running_loop().create_future()
        self._wanted = wanted

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(self._wanted)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.received.endswith((b"\r\n0\r\n\r\n", b" 204 No Content\r\n\r\n")):
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def _end(self) -> None:
        if not self.is_over.done():
            self.is_over.set_result(None)


async def collected(port: int, path: str, headers: Mapping[str, str], *, within_s: float = 60.0) -> tuple[int, bytes]:
    """Status and body of a GET, read to its proper end as fast as can be. Raises `Broken` if it was cut."""
    loop = asyncio.get_running_loop()
    wanted = request("GET", path, headers=headers)
    transport, collector = await loop.create_connection(lambda: _Collector(wanted), "127.0.0.1", port)
    try:
        async with asyncio.timeout(within_s):
            await collector.is_over
    finally:
        transport.abort()
    head, _, body = bytes(collector.received).partition(b"\r\n\r\n")
    return int(head.split(b" ", 2)[1]), _dechunked(body)


def _dechunked(body: bytes) -> bytes:
    parts: list[bytes] = []
    at = 0
    while at < len(body):
        end = body.index(b"\r\n", at)
        size = int(body[at:end], 16)
        if body[end + 2 + size : end + 4 + size] != b"\r\n":
            break
        if size == 0:
            return b"".join(parts)
        parts.append(body[end + 2 : end + 2 + size])
        at = end + 4 + size
    if body:
        raise Broken(f"a body was cut after {at} bytes: {body[at:][:100]!r}")
    return b""


# Histories


@dataclass
class History:
    """All that one reader was told of one stream, folded as a client would. Raises `Broken` at the first contradiction.

    After every event: `parts` is the message, `cursor` the last id, `units` how much of the log it stands for.
    `newer` are kinds that a newer version may have written; they are skipped, any other unknown one is a contradiction.
    """

    stream_id: str = ""
    parts: list[dict[str, Any]] = field(default_factory=list)
    cursor: str | None = None
    attempt: int = 0
    units: int = 0
    nonces: dict[int, str] = field(default_factory=dict)
    ending: dict[str, Any] | None = None
    reconnect: dict[str, Any] | None = None
    ids: list[str] = field(default_factory=list)
    resets: list[str] = field(default_factory=list)
    usage: list[dict[str, Any]] = field(default_factory=list)
    asides: list[dict[str, Any]] = field(default_factory=list)
    starts: int = 0
    connections: int = 0
    refusals: int = 0
    newer: frozenset[str] = frozenset()

    def take(self, item: Item) -> None:
        if item.data is None:
            return
        event = item.data
        if self.ending is not None:
            raise Broken(f"{event['type']} after {self.ending['type']}")
        kind = event["type"]
        if kind == "start":
            self._start(item)
        elif kind == "reconnect":
            self.reconnect = event
        elif kind == "reset":
            self._reset(item)
        elif kind == "gap":
            raise Broken(f"a gap where nothing was trimmed: {event}")
        elif kind == "error" and item.id is None:
            self.ending = event
        else:
            self._logged(item)

    def copy(self) -> "History":
        """What is held now, to be continued by somebody else."""
        parts = [dict(part) for part in self.parts]
        return replace(
            self, parts=parts, nonces=dict(self.nonces), ids=[], resets=list(self.resets), usage=[], asides=[]
        )

    def text(self, kind: str = "text") -> str:
        name = "arguments" if kind == "tool_call" else "text"
        return "".join(part[name] for part in self.parts if part["type"] == kind)

    def spoken(self) -> list[tuple[str, str]]:
        """Kind and text of each part, as `script.expected` has it."""
        return [(part["type"], part["arguments" if part["type"] == "tool_call" else "text"]) for part in self.parts]

    def _start(self, item: Item) -> None:
        assert item.data is not None
        if self.ids or item.id is not None:
            raise Broken(f"a start in the middle: {item}")
        if self.stream_id and item.data["stream"] != self.stream_id:
            raise Broken(f"the start of another stream: {item.data}")
        self.starts += 1

    def _reset(self, item: Item) -> None:
        assert item.data is not None
        self.resets.append(item.data["reason"])
        self.parts = [dict(part) for part in item.data["parts"]]
        self.units, self.attempt = 0, 0
        self.cursor = item.id
        if item.id is not None:
            self._adopt(item.id)
        told = sum(part_units(part) for part in self.parts)
        if told > self.units:
            raise Broken(f"a reset to {self.units} units brings {told}")

    def _adopt(self, event_id: str) -> None:
        match = EVENT_ID.fullmatch(event_id)
        if match is None or len(event_id) > 64:
            raise Broken(f"not an event id: {event_id[:200]!r}")
        attempt, units, nonce = int(match[1]), int(match[2]), match[3]
        if self.nonces.setdefault(attempt, nonce) != nonce:
            raise Broken(f"attempt {attempt} has two nonces")
        if attempt < self.attempt:
            raise Broken(f"attempt {attempt} after attempt {self.attempt}")
        self.attempt, self.units, self.cursor = attempt, units, event_id

    def _logged(self, item: Item) -> None:
        assert item.data is not None
        if item.id is None:
            raise Broken(f"an event of the log without an id: {item}")
        before = self.units
        self._adopt(item.id)
        if self.units - event_units(item.data) != before:
            raise Broken(f"{item} does not follow {before} units")
        self.ids.append(item.id)
        self._fold(item.data)

    def _fold(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind in ENDINGS:
            self.ending = event
        elif kind == "usage":
            self.usage.append(event)
        elif kind in DELTAS:
            if not self.parts or self.parts[-1]["type"] != kind:
                self.parts.append({"type": kind, "text": ""})
            self.parts[-1]["text"] += event["delta"]
        elif kind == "tool_call":
            self._fold_call(event)
        elif kind in ASIDES:
            self.asides.append(event)
        elif kind not in self.newer:
            raise Broken(f"an event of no known type: {event}")

    def _fold_call(self, event: dict[str, Any]) -> None:
        if "id" in event:
            names = {name: event[name] for name in ("index", "id", "name")}
            self.parts.append({"type": "tool_call", **names, "arguments": ""})
        open_calls = [part for part in self.parts if part["type"] == "tool_call" and part["index"] == event["index"]]
        if not open_calls:
            raise Broken(f"arguments of a call that was never opened: {event}")
        open_calls[-1]["arguments"] += event["arguments_delta"]


def event_units(event: Mapping[str, Any]) -> int:
    if event["type"] in DELTAS:
        return len(event["delta"].encode())
    if event["type"] == "tool_call":
        return len(event["arguments_delta"].encode()) + ("id" in event)
    return 1


def part_units(part: Mapping[str, Any]) -> int:
    """The units of a part, but for what is beside its text."""
    if part["type"] == "tool_call":
        return len(part["arguments"].encode()) + 1
    return len(part.get("text", "").encode())


# Readers


async def follow(
    ports: Sequence[int],
    stream_id: str,
    *,
    chance: random.Random | None = None,
    wires: Sequence[str] = (SSE,),
    patience: float = 0,
    history: History | None = None,
    within_s: float = 60.0,
    pause_s: float = 0.02,
) -> History:
    """Read a stream to its end over any number of connections, each to a random one of `ports`.

    With `patience` a connection is dropped after about that many units, in the middle of whatever is under way.
    """
    chance = chance or random.Random(stream_id)
    history = history or History(stream_id)
    async with asyncio.timeout(within_s):
        while history.ending is None:
            try:
                await _read_once(chance.choice(ports), history, chance, chance.choice(wires), patience)
            except (OSError, asyncio.IncompleteReadError):
                history.refusals += 1  # nobody there, or cut before the answer: the next try may meet another edge
            await asyncio.sleep(chance.uniform(0, 2 * pause_s))
    return history


async def _read_once(port: int, history: History, chance: random.Random, wire: str, patience: float) -> None:
    path, headers = _resuming(history, chance)
    enough = history.units + chance.expovariate(1 / patience) if patience else inf
    async with opened(port, "GET", path, headers=headers | {"accept": wire}) as answer:
        if answer.status == 503:
            return
        if answer.status != 200:
            raise Broken(f"{answer.status} for {path} {headers}: {(await answer.read())[:500]!r}")
        history.connections += 1
        history.reconnect = None
        async for item in answer.items():
            history.take(item)
            if history.units > enough:
                return


def _resuming(history: History, chance: random.Random) -> tuple[str, dict[str, str]]:
    """Where to ask, with the cursor said in any of the ways there are."""
    path = f"/v1/streams/{history.stream_id}/events"
    if history.cursor is None:
        return path, {}
    alias = chance.choice(("header", "both", "last_event_id", "lastEventID", "after"))
    if alias == "header":
        return path, {"last-event-id": history.cursor}
    if alias == "both":
        return f"{path}?last_event_id=0-0", {"last-event-id": history.cursor}
    return f"{path}?{alias}={quote(history.cursor)}", {}
