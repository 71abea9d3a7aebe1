"""Answers in chunks over real sockets, on each loop, with and without TLS: exact text, exact ends, past aiohttp."""

import asyncio
import gzip
import random
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import uvloop
from aiohttp.client_proto import ResponseHandler

from services.worker.providers.completion import Completion, ConfiguredProvider
from services.worker.providers.http.session import new_session
from services.worker.providers.provider import CompletionRequest
from services.worker.providers.registry import provider_of
from shared.errors import ProviderError, ProviderMalformed, ProviderTruncated
from shared.log.events import Event
from shared.settings.providers import ProviderSettings
from tests.support.waiting import eventually

__all__ = ()

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"
DONE = b"data: [DONE]\n\n"
FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
# Who hears of an end by itself hears it long before silence is held against the provider.
SOON_S, SILENCE_S = 4.0, 15.0

Main = Callable[[], Coroutine[Any, Any, None]]
Loops = Callable[[Main], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def on_loop(request: pytest.FixtureRequest) -> Loops:
    """Runs a test's own main on each kind of loop."""
    factory = asyncio.new_event_loop if request.param == "asyncio" else uvloop.new_event_loop

    def run(main: Main) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(asyncio.wait_for(main(), 20))

    return run


class Script:
    """Answers each request with the next of `answers`: pieces of bytes, a write each. `None` cuts the connection."""

    def __init__(self, *answers: Sequence[bytes | None]) -> None:
        self.answers = list(answers)
        self.accepted = 0
        self.closed = asyncio.Event()
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            while self.answers and await self._request(reader):
                for piece in self.answers.pop(0):
                    if piece is None:
                        return
                    writer.write(piece)
                    await writer.drain()
                    # Time for the other end to read each by itself, as they share a loop.
                    await asyncio.sleep(0.0005)
                    await self.may_go_on.wait()
            await reader.read()
        except OSError:
            return  # the other end closed first
        finally:
            self.closed.set()
            writer.close()

    async def _request(self, reader: asyncio.StreamReader) -> bool:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return False
        (length,) = [int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        await reader.readexactly(length)
        return True


class Asked:
    """A provider at a script."""

    def __init__(self, provider: ConfiguredProvider, session: aiohttp.ClientSession) -> None:
        self.provider = provider
        self.events: list[Event] = []
        self._session = session

    @property
    def text(self) -> str:
        return b"".join(event.value for event in self.events if event.kind == "text").decode()

    async def answer(self, take: Callable[[Sequence[Event]], bool] | None = None) -> str:
        """The whole text of the next answer."""
        self.events = []
        stream = await self.opened()
        try:
            while (events := await stream.read()) is not None:
                self.events += events
                await stream.pour(take or self.take)
            # aiohttp gives a connection back by itself once the last chunk came; before that, closing would cut it.
            await eventually(self.has_no_connection)
        finally:
            await stream.aclose()
        return self.text

    async def has_no_connection(self) -> bool:
        assert self._session.connector is not None
        return not self._session.connector._acquired

    async def has_heard(self) -> bool:
        return bool(self.events)

    async def opened(self) -> Completion:
        stream = self.provider.stream(CompletionRequest("m", [{"role": "user", "content": "?"}]))
        await stream.open()
        return stream

    def take(self, events: Sequence[Event]) -> bool:
        self.events += events
        return True


@asynccontextmanager
async def asked(script: Script, tls: Path | None = None) -> AsyncIterator[Asked]:
    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls)
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0, ssl=context)
    url = f"{'https' if tls else 'http'}://localhost:{server.sockets[0].getsockname()[1]}/v1"
    settings = ProviderSettings(name="raw", base_url=url, models=["*"], next_token_timeout_s=SILENCE_S)
    try:
        async with new_session() as session:
            if tls is not None:
                await session.connector.close()  # type: ignore[union-attr]
                trusting = ssl.create_default_context(cafile=str(tls))
                session._connector = aiohttp.TCPConnector(limit=0, ssl=trusting)
            yield Asked(provider_of(settings, session, environment={}), session)
    finally:
        server.close()  # or uvloop, while it closes, waits for it for ever


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What aiohttp's parser got."""
    seen: list[bytes] = []
    original = ResponseHandler.data_received

    def data_received(self: ResponseHandler, data: bytes) -> None:
        seen.append(data)
        original(self, data)

    monkeypatch.setattr(ResponseHandler, "data_received", data_received)
    return seen


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("there is no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    command = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    names = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([openssl, *command.split(), *names], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_bytes((folder / "key.pem").read_bytes() + (folder / "cert.pem").read_bytes())
    return both


def event(text: str, *, end: bytes = b"\n\n") -> bytes:
    return b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}) + end


def framed(data: bytes, size: str = "{:x}") -> bytes:
    return size.format(len(data)).encode() + b"\r\n" + data + b"\r\n"


def cut(data: bytes, rng: random.Random, most: int) -> list[bytes]:
    cuts = sorted(rng.sample(range(1, len(data)), min(rng.randrange(most), len(data) - 1)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


WORDS = ["a", "né€", "5\r\nhello\r\n", '"', "\\", "0\r\n\r\n", "x" * 200, "data: [DONE]\n\n", "da", "😀"]
SIZES = ["{:x}", "{:x}", "{:X}", "000{:x}", "{:x};a=b"]
ENDS = [LAST, b"0\r\nTrailer: 1\r\n\r\n", b"00\r\n\r\n", b"0;a\r\n\r\n"]


def random_answer(rng: random.Random) -> tuple[str, list[bytes]]:
    words = [rng.choice(WORDS) for _ in range(rng.randrange(1, 12))]
    line_end = rng.choice([b"\n\n", b"\r\n\r\n"])
    body = b"".join(event(word, end=line_end) for word in words) + FINISH + DONE
    chunks = [framed(piece, rng.choice(SIZES)) for piece in cut(body, rng, 12)]
    return "".join(words), cut(CHUNKED + b"".join([*chunks, rng.choice(ENDS)]), rng, 25)


@pytest.mark.parametrize("is_tls", [False, True])
def test_any_framing_is_exact_on_a_kept_connection(
    on_loop: Loops, is_tls: bool, request: pytest.FixtureRequest
) -> None:
    tls = request.getfixturevalue("certificate") if is_tls else None

    async def main() -> None:
        rng = random.Random(11)
        answers = [random_answer(rng) for _ in range(60)]
        script = Script(*[pieces for _, pieces in answers])
        async with asked(script, tls) as provider:
            for text, _ in answers:
                assert await provider.answer() == text
        assert script.accepted == 1

    on_loop(main)


@pytest.mark.parametrize("is_tls", [False, True])
def test_plain_chunks_go_past_aiohttp(
    on_loop: Loops, is_tls: bool, reads: list[bytes], request: pytest.FixtureRequest
) -> None:
    tls = request.getfixturevalue("certificate") if is_tls else None
    answer = [CHUNKED, *[framed(event(f" {number}")) for number in range(100)], framed(FINISH) + framed(DONE) + LAST]

    async def main() -> None:
        script = Script(answer, answer)
        async with asked(script, tls) as provider:
            for _ in range(2):
                assert await provider.answer() == "".join(f" {number}" for number in range(100))
        assert script.accepted == 1

    on_loop(main)
    # Of each answer: its head, what is read before the tap, what the shortcut learns from, and the end.
    assert len(reads) <= 2 * 10
    assert sum(map(len, reads)) < 0.2 * 2 * sum(map(len, answer))


@pytest.mark.parametrize("last", [LAST, b"0\r\n", b"0;a=b\r\n\r\n"])
def test_an_end_by_itself_is_heard_at_once(on_loop: Loops, last: bytes) -> None:
    async def main() -> None:
        rest = LAST[len(last) :] if LAST.startswith(last) else b""
        answer = [CHUNKED, *[framed(event(f" {number}")) for number in range(9)], last, *([rest] if rest else [])]
        async with asked(Script(answer)) as provider:
            async with asyncio.timeout(SOON_S):
                with pytest.raises(ProviderTruncated):
                    await provider.answer()
            assert provider.text == "".join(f" {number}" for number in range(9))

    on_loop(main)


def test_a_cut_anywhere_loses_nothing_that_came(on_loop: Loops) -> None:
    async def main() -> None:
        frames = [framed(event(f" {number}")) for number in range(4)]
        body = b"".join(frames)
        for place in range(len(body) - len(frames[3]), len(body) + 1):
            # The third event is whole before its chunk is: its text must be there, of a cut one nothing.
            answer = [CHUNKED + frames[0], frames[1], frames[2], body[sum(map(len, frames[:3])) : place], None]
            async with asked(Script([piece for piece in answer if piece != b""])) as provider:
                with pytest.raises(ProviderTruncated):
                    await provider.answer()
                assert provider.text == " 0 1 2" + (" 3" if place >= len(body) - 2 else "")

    on_loop(main)


@pytest.mark.parametrize("odd", [b"none" + 15 * b"x" + b"\r\n", b"zz\r\n", b"-5\r\nhello\r\n", b"5\r\nhelloworld\r\n"])
def test_what_is_no_chunk_is_refused(on_loop: Loops, odd: bytes) -> None:
    async def main() -> None:
        answer = [CHUNKED, *[framed(event(f" {number}")) for number in range(4)], odd]
        async with asked(Script(answer)) as provider:
            async with asyncio.timeout(SOON_S):
                with pytest.raises((ProviderTruncated, ProviderMalformed)):
                    await provider.answer()
            assert provider.text == " 0 1 2 3"

    on_loop(main)


def test_a_writer_without_room_gets_the_rest_later(on_loop: Loops) -> None:
    async def main() -> None:
        count = 3000
        frames = [framed(event(f" {number}")) for number in range(count)]
        answer = [CHUNKED, *[b"".join(frames[at : at + 20]) for at in range(0, count, 20)], framed(FINISH + DONE), LAST]
        rng = random.Random(5)
        async with asked(Script(answer, answer)) as provider:

            def take(events: Sequence[Event]) -> bool:
                provider.events += events
                return rng.random() < 0.7

            for _ in range(2):
                assert await provider.answer(take) == "".join(f" {number}" for number in range(count))

    on_loop(main)


def test_a_response_closed_in_its_middle_closes_the_connection(on_loop: Loops) -> None:
    async def main() -> None:
        script = Script([CHUNKED, *[framed(event(f" {number}")) for number in range(2000)]])
        async with asked(script) as provider:
            stream = await provider.opened()
            await stream.read()
            pouring = asyncio.ensure_future(stream.pour(provider.take))
            await eventually(provider.has_heard)
            pouring.cancel()
            await asyncio.wait([pouring])
            assert pouring.cancelled()
            await stream.aclose()
            heard = len(provider.events)
            async with asyncio.timeout(SOON_S):
                await script.closed.wait()
            assert 0 < heard == len(provider.events)

    on_loop(main)


BODY = b"".join(event(f" {number}") for number in range(20)) + FINISH + DONE
OTHERS: dict[str, list[bytes | None]] = {
    "of a length": [HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY), BODY[:100], BODY[100:]],
    "until it is closed": [HEAD + b"Connection: close\r\n\r\n", BODY[:100], BODY[100:], None],
    "gzip": [
        HEAD + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n",
        *[framed(gzip.compress(BODY)[at : at + 9]) for at in range(0, len(gzip.compress(BODY)), 9)],
        LAST,
    ],
}


@pytest.mark.parametrize("name", OTHERS)
def test_bodies_that_are_no_plain_chunks_are_exact_too(on_loop: Loops, name: str) -> None:
    async def main() -> None:
        async with asked(Script(OTHERS[name])) as provider:
            assert await provider.answer() == "".join(f" {number}" for number in range(20))

    on_loop(main)


async def test_an_error_that_comes_past_aiohttp_is_told_after_the_text() -> None:
    answer = [CHUNKED, framed(event("a")), framed(event("b")), framed(event("c")), framed(b'data: {"error":{}}\n\n')]
    answer.append(framed(b'data: {"error":{"message":"no"}}\n\n'))
    async with asked(Script(answer)) as provider:
        with pytest.raises(ProviderError):
            await provider.answer()
        assert provider.text == "abc"
