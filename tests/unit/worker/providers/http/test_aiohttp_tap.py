"""A chunked body past aiohttp's parser: whatever the framing and the cuts, the text is exact."""

import asyncio
import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from hypothesis import example, given
from hypothesis import strategies as st

from services.worker.providers.http.aiohttp_tap import Shortcut, Take, Tap, body_of

__all__ = ()

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
# What sizes, line ends and texts that look like them are made of.
ODD_BYTES = st.lists(st.sampled_from([b"1", b"2", b"5", b"a", b"D", b"0", b";", b"\r", b"\n", b"\r\n", b"none"]))


class Line(asyncio.Transport):
    """A connection without a socket: gives what the test sends to whichever protocol it has."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: asyncio.Protocol | None = None
        self.is_paused = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol)
        self.protocol = protocol

    def send(self, data: bytes) -> None:
        assert self.protocol is not None
        assert not self.is_paused
        self.protocol.data_received(data)

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        raise AssertionError("aiohttp found a fault in the body")

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False


class CountingHandler(ResponseHandler):
    reads = 0

    def data_received(self, data: bytes) -> None:
        self.reads += 1
        super().data_received(data)


class Body:
    """A response whose head has come, and a shortcut."""

    def __init__(self, line: Line, handler: CountingHandler, content: aiohttp.StreamReader) -> None:
        self.line, self.handler, self.content = line, handler, content
        self.shortcut = Shortcut(line, handler)
        self.heard: list[bytes] = []

    @classmethod
    async def begun(cls) -> "Body":
        line, handler = Line(), CountingHandler(asyncio.get_running_loop())
        line.set_protocol(handler)
        handler.connection_made(line)
        handler.set_response_params(read_until_eof=True)
        line.send(HEAD)
        _, content = await handler.read()
        handler.reads = 0
        return cls(line, handler, content)

    async def read(self, take: Take) -> None:
        """To the end, as a provider is read."""
        while data := await self.content.readany():
            take(data)
            await Tap(self.content, take, self.shortcut).run()

    def tap(self, take: Take | None = None) -> "asyncio.Task[None]":
        return asyncio.ensure_future(Tap(self.content, take or self.hear, self.shortcut).run())

    def hear(self, data: bytes) -> bool:
        self.heard.append(data)
        return True


def framed(text: bytes, *, size: str = "{:x}") -> bytes:
    return size.format(len(text)).encode() + b"\r\n" + text + b"\r\n"


def whole_chunks(data: bytes) -> bytes | None:
    """By another way than the product's: eat one chunk after the other."""
    body = b""
    while data:
        line, end, data = data.partition(b"\r\n")
        if not end or not re.fullmatch(rb"[1-9a-fA-F][0-9a-fA-F]{0,5}", line):
            return None
        size = int(line, 16)
        body += data[:size]
        if len(data) < size + 2 or data[size : size + 2] != b"\r\n":
            return None
        data = data[size + 2 :]
    return body or None


@pytest.mark.parametrize(
    "data",
    [
        b"0\r\n\r\n",
        b"0\r\n",
        b"\r\n",
        b"",
        b"1\r\n\r\n",
        b"05\r\nhello\r\n",
        b"5 \r\nhello\r\n",
        b"5;a=b\r\nhello\r\n",
        b"5\r\nhello",
        b"5\r\nhello\r",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"none" + 15 * b"x" + b"\r\n",
        b"4\r\nhello\r\n",
    ],
)
def test_what_is_not_whole_chunks_has_no_body(data: bytes) -> None:
    assert body_of(data) is None


@pytest.mark.parametrize("size", ["{:x}", "{:X}"])
def test_a_chunk_of_any_length_has_its_body(size: str) -> None:
    for length in (*range(1, 300), *range(4080, 4110), 65_534, 65_535, 65_536, 2**20):
        text = (b"data: " * length)[:length]
        assert body_of(framed(text, size=size)) == text
        assert body_of(framed(text, size=size) + framed(b"!")) == text + b"!"


@given(ODD_BYTES | st.lists(ODD_BYTES.map(b"".join).map(framed)))
def test_a_body_is_what_another_parser_makes_of_it(parts: list[bytes]) -> None:
    data = b"".join(parts)
    assert body_of(data) == whole_chunks(data)


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[start:end] for start, end in pairwise(places) if start < end]


SIZES = st.sampled_from(["{:x}", "{:x}", "{:x}", "{:X}", "0{:x}", "{:x};a=b", '{:x};a="b;c"'])
CHUNKS = st.tuples(
    (ODD_BYTES | st.lists(st.sampled_from([b"data: x\n\n", b"data: y\r\n\r\n", b"\n"]))).map(b"".join), SIZES
).filter(lambda chunk: bool(chunk[0]))
ENDS = st.sampled_from([b"0\r\n\r\n", b"000\r\n\r\n", b"0;a=b\r\n\r\n", b"0\r\nTrailer: 5\r\n\r\n"])


async def read_in_pieces(sent: list[bytes], turns: list[bool]) -> bytes:
    """`turns` says, over and over, whether the loop turns between pieces, and whether the writer has room."""
    body = await Body.begun()

    def take(data: bytes) -> bool:
        body.hear(data)
        return turns[len(body.heard) % len(turns)]

    reading = asyncio.ensure_future(body.read(take))
    await asyncio.sleep(0)
    for number, piece in enumerate(sent):
        body.line.send(piece)
        if turns[number % len(turns)]:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await reading
    assert body.line.protocol is body.handler
    return b"".join(body.heard)


# A read that aiohttp and a look at its frame take for the same text, but which ends inside of a chunk.
TWO_WAYS = [(b"x", "{:x}"), (b"hello5", "{:x}"), (b"\r\n\r\n1", "{:x}"), (b"0123456789", "{:x}")]


@example(TWO_WAYS, b"0\r\n\r\n", [6, 14, 24, 30], [True])
@example([(b"1", "{:x}"), (b"1", "{:x}"), (b"1", "{:x}")], b"0\r\n\r\n", [3, 9, 15], [True])
@given(
    st.lists(CHUNKS, min_size=1, max_size=12),
    ENDS,
    st.lists(st.integers(0, 400), max_size=40),
    st.lists(st.booleans(), min_size=1, max_size=7),
)
def test_the_text_is_exact_in_any_framing(
    chunks: list[tuple[bytes, str]], end: bytes, cuts: list[int], turns: list[bool]
) -> None:
    data = b"".join(framed(text, size=size) for text, size in chunks) + end
    text = b"".join(text for text, _ in chunks)
    assert asyncio.run(read_in_pieces(pieces(data, cuts), turns)) == text


@given(st.lists(CHUNKS, min_size=1, max_size=12), ENDS, st.lists(st.booleans(), min_size=1, max_size=7))
def test_the_text_is_exact_in_a_read_for_each_chunk(
    chunks: list[tuple[bytes, str]], end: bytes, turns: list[bool]
) -> None:
    sent = [framed(text, size=size) for text, size in chunks]
    assert asyncio.run(read_in_pieces([*sent, end], turns)) == b"".join(text for text, _ in chunks)


@given(st.sampled_from([b"1", b"2", b"5", b"1\r", b"d"]), st.lists(CHUNKS, min_size=2, max_size=5))
def test_text_that_looks_like_chunks_stays_text(before: bytes, chunks: list[tuple[bytes, str]]) -> None:
    """A chunk of HTTP that holds chunks of HTTP, and is cut between them."""
    inner = [framed(text, size=size) for text, size in chunks]
    outer = framed(before + b"".join(inner))
    head = len(outer) - 2 - sum(map(len, inner))
    cuts = [head + sum(map(len, inner[:number])) for number in range(len(inner) + 1)]
    sent = pieces(framed(b"x") + outer + b"0\r\n\r\n", [6, *[6 + cut for cut in cuts]])
    heard = asyncio.run(read_in_pieces(sent, [True]))
    assert heard == b"x" + before + b"".join(inner)


async def test_every_pair_of_cuts_gives_the_same_text() -> None:
    texts = [b"data: 1\n\n", b"data: 2\n", b"\ndata: 10\r\n", b"5\r\nhello\r\n"]
    data = framed(b"x") + b"".join(map(framed, texts)) + b"0\r\n\r\n"
    for first in range(6, len(data)):
        for second in range(first, len(data), 3):
            assert await read_in_pieces(pieces(data, [6, first, second]), [True]) == b"x" + b"".join(texts)


@pytest.mark.parametrize("size", [1, 5, 9, 200, *range(0xD0, 0xE0), 3500])
async def test_what_is_plain_goes_past_aiohttp_after_the_first_read(size: int) -> None:
    body = await Body.begun()
    tap = body.tap()
    await asyncio.sleep(0)
    text = (b"data: " + b"x" * size)[: size - 2] + b"\n\n" if size > 2 else b"d" * size
    for _ in range(10):
        body.line.send(framed(text))
    body.line.send(framed(text) + framed(text))
    assert body.handler.reads == 1
    body.line.send(b"0\r\n\r\n")
    await tap
    assert body.content.is_eof()
    assert b"".join(body.heard) == 12 * text


async def test_several_chunks_in_one_read_are_enough_to_begin() -> None:
    body = await Body.begun()
    tap = body.tap()
    await asyncio.sleep(0)
    for _ in range(10):
        body.line.send(framed(b"data: a\n\n") + framed(b"data: b\n\n"))
    assert body.handler.reads == 1
    body.line.send(b"0\r\n\r\n")
    await tap


@pytest.mark.parametrize("answer", [True, False])
async def test_what_comes_just_after_a_tap_was_cancelled_is_not_lost(answer: bool) -> None:
    """The task of a cancelled tap runs a turn later than the read of a socket that is ready at the same time."""
    body = await Body.begun()

    def take(data: bytes) -> bool:
        body.hear(data)
        return answer or len(body.heard) < 3

    tap = body.tap(take)
    await asyncio.sleep(0)
    body.line.send(framed(b"one"))
    body.line.send(framed(b"two"))
    tap.cancel()
    body.line.send(framed(b"three"))
    body.line.send(framed(b"four"))
    with suppress(asyncio.CancelledError):
        await tap
    assert tap.cancelled()
    assert b"".join([*body.heard, body.content._read_nowait(-1)]) == b"onetwothreefour"
    assert body.line.protocol is body.handler


async def test_a_failure_of_whoever_takes_is_theirs() -> None:
    body = await Body.begun()

    def take(data: bytes) -> bool:
        if body.hear(data) and len(body.heard) == 3:
            raise ValueError("three")
        return True

    tap = body.tap(take)
    await asyncio.sleep(0)
    for text in (b"one", b"two", b"three", b"four"):
        body.line.send(framed(text))
    with pytest.raises(ValueError, match="three"):
        await tap
    assert (body.heard, body.content._read_nowait(-1)) == ([b"one", b"two", b"three"], b"four")
