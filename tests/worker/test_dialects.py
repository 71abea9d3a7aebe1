"""The seam of dialects: another API is a few lines, and everything about sockets and deadlines is there already."""

import ast
import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from services.cli.checks.places import Places
from services.cli.checks.providers import check_providers
from services.worker.providers.completion import ConfiguredProvider
from services.worker.providers.dialect import Call, Dialect
from services.worker.providers.http.session import new_session
from services.worker.providers.openai.dialect import OPENAI
from services.worker.providers.provider import CompletionRequest, Outcome, Pouring
from services.worker.providers.registry import DIALECTS, dialect_of, provider_of
from shared.errors import (
    InvalidConfiguration,
    ProviderAuth,
    ProviderError,
    ProviderFailed,
    ProviderRateLimited,
    ProviderStalled,
    ProviderTruncated,
)
from shared.log.events import Event, delta, usage
from shared.settings.providers import ProviderSettings
from shared.settings.settings import Settings

__all__ = ()

ROOT = Path(__file__).parents[2]


# Another dialect: one JSON object a line, the text in `say`, the end in `over`.


class LineReader:
    def __init__(self) -> None:
        self.ended = False
        self.usage: dict[str, int] | None = None
        self.unknown: Mapping[str, int] = {}
        self._rest = b""
        self._is_told = False

    is_whole = property(lambda self: self.ended)
    is_going_on = property(lambda self: not self.ended)

    @property
    def outcome(self) -> Outcome:
        return Outcome("stop", self.usage)

    def feed(self, data: bytes) -> Sequence[Event]:
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [event for line in lines for event in self._read(orjson.loads(line))]

    def finish(self) -> Sequence[Event]:
        if not self.ended:
            raise ProviderTruncated
        is_due, self._is_told = self.usage is not None and not self._is_told, True
        return [usage(self.usage or {})] if is_due else []

    def _read(self, line: dict[str, Any]) -> list[Event]:
        if "oops" in line:
            raise ProviderFailed
        if "over" in line:
            self.ended, self.usage = True, {"output_tokens": line["over"]}
            return []
        return [delta("text", line["say"])]


class Lines:
    name = "lines"
    path = "/say"
    options = frozenset({"temperature"})
    continuations = frozenset({"none"})

    def completion(self, request: CompletionRequest, settings: ProviderSettings, *, key: str | None) -> Call:
        body = {"of": request.model, "ask": request.messages, "options": request.options}
        return Call("PUT", self.path, {"X-Key": key or ""}, orjson.dumps(body))

    def probe(self, settings: ProviderSettings, *, key: str | None) -> Call:
        return Call("GET", "/ping", {"X-Key": key or ""})

    def passes(self, status: int) -> bool:
        return status == 202

    def reader(self, media_type: str) -> LineReader:
        assert media_type == "application/x-lines"
        return LineReader()

    def error_of_response(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        return {b"slow": ProviderRateLimited, b"who": ProviderAuth}.get(body, ProviderFailed)()


WITH_LINES: tuple[Dialect, ...] = (*DIALECTS, Lines())


@asynccontextmanager
async def speaking(*writes: bytes, status: int = 200, hold: bool = False) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers with these writes, and the requests that it got."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            return  # the client has gone
        finally:
            writer.close()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line[:15] == b"content-length:"), 0)
        requests.append(head + await reader.readexactly(length))
        writer.write(b"HTTP/1.1 %d X\r\nContent-Type: application/x-lines\r\nConnection: close\r\n\r\n" % status)
        for each in writes:
            writer.write(each)
            await writer.drain()
            await asyncio.sleep(0.01)
        if hold:
            await reader.read()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api", requests


def provider_at(base_url: str, session: aiohttp.ClientSession, **values: Any) -> ConfiguredProvider:
    settings = ProviderSettings(name="other", dialect="lines", base_url=base_url, models=["*"], **values)
    return provider_of(settings, session, environment={"K": "key-1"}, dialects=WITH_LINES)


async def answer_of(provider: ConfiguredProvider) -> tuple[str, Outcome | None]:
    """The text and the outcome of an answer that is read as a worker does."""
    events: list[Event] = []

    def take(more: Sequence[Event]) -> bool:
        events.extend(more)
        return True

    stream = provider.stream(CompletionRequest("m", [{"role": "user", "content": "hi"}], {"temperature": 1}))
    try:
        await stream.open()
        while (more := await stream.read()) is not None:
            take(more)
            assert isinstance(stream, Pouring)
            await stream.pour(take)
    finally:
        await stream.aclose()
    assert [event.kind for event in events if event.kind != "text"] == ["usage"]
    return b"".join(event.value for event in events if event.kind == "text").decode(), stream.outcome


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with new_session() as session:
        yield session


async def test_another_dialect_is_spoken(session: aiohttp.ClientSession) -> None:
    writes = (b'{"say":"Hel"}\n{"s', b'ay":"lo"}\n', b'{"say":"!"}\n', b'{"over":3}\n')
    async with speaking(*writes) as (base_url, requests):
        answer = await answer_of(provider_at(base_url, session, api_key_env="K"))
    assert answer == ("Hello!", Outcome("stop", {"output_tokens": 3}))
    assert requests[0].startswith(b"PUT /api/say HTTP/1.1\r\n")
    assert b"X-Key: key-1\r\n" in requests[0]
    assert requests[0].endswith(b'{"of":"m","ask":[{"role":"user","content":"hi"}],"options":{"temperature":1}}')


@pytest.mark.parametrize(
    ("writes", "status", "hold", "kind"),
    [
        ((b'{"say":"a"}\n', b'{"oops":1}\n'), 200, False, ProviderFailed),
        ((b'{"say":"a"}\n',), 200, False, ProviderTruncated),
        ((b'{"say":"a"}\n',), 200, True, ProviderStalled),
        ((b"slow",), 503, False, ProviderRateLimited),
        ((b"who",), 400, False, ProviderAuth),
    ],
)
async def test_its_failures_are_ours(
    session: aiohttp.ClientSession, writes: tuple[bytes, ...], status: int, hold: bool, kind: type[ProviderError]
) -> None:
    async with speaking(*writes, status=status, hold=hold) as (base_url, _):
        patience = {"first_token_timeout_s": 0.5, "next_token_timeout_s": 0.3} if hold else {}
        with pytest.raises(kind):
            await answer_of(provider_at(base_url, session, **patience))


async def test_it_is_probed_in_its_own_way(session: aiohttp.ClientSession) -> None:
    async with speaking(status=202) as (base_url, requests):
        await provider_at(base_url, session, api_key_env="K").probe()
    assert requests[0].startswith(b"GET /api/ping HTTP/1.1\r\n")
    async with speaking(b"who", status=200) as (base_url, _):
        with pytest.raises(ProviderAuth):
            await provider_at(base_url, session).probe()


# The registry

KNOWN = ", ".join(sorted(each.name for each in WITH_LINES))


def entry(**values: Any) -> ProviderSettings:
    return ProviderSettings(name="mine", base_url="http://127.0.0.1:1/v1", models=["*"], **values)


def test_an_entry_names_its_dialect() -> None:
    assert dialect_of(entry()) is OPENAI
    assert dialect_of(entry(dialect="lines"), WITH_LINES).name == "lines"
    assert len({each.name for each in DIALECTS}) == len(DIALECTS)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"dialect": "opnai"}, f"provider mine: there is no dialect 'opnai'; there are: {KNOWN}; did you mean openai?"),
        (
            {"dialect": "claude"},
            f"provider mine: there is no dialect 'claude'; there are: {KNOWN}; did you mean anthropic?",
        ),
        ({"dialect": "xyz"}, f"provider mine: there is no dialect 'xyz'; there are: {KNOWN}"),
        (
            {"dialect": "lines", "continuation": "prefill"},
            "provider mine: lines has no continuation 'prefill'; there are: none",
        ),
    ],
)
async def test_an_entry_that_cannot_be_served_says_why(values: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        dialect_of(entry(**values), WITH_LINES)
    assert caught.value.message == words


async def test_doctor_names_a_dialect_that_there_is_none_of() -> None:
    settings = Settings(providers=[entry(dialect="opnai")])
    (finding,) = await check_providers(settings, {}, Places(Path("tailrace.toml")))
    assert "there is no dialect 'opnai'; there are: " in str(finding)
    assert "did you mean openai?" in str(finding)


def test_what_all_share_knows_no_dialect() -> None:
    """Only the registry does, and nothing but the composition roots knows the registry."""
    folder = ROOT / "services" / "worker" / "providers"
    dialects = {path.parent.name for path in folder.glob("*/dialect.py")}
    assert dialects
    for path in (ROOT / "services").rglob("*.py"):
        sources = {
            node.module or "" for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)
        }
        known = {name for name in dialects if any(f".providers.{name}" in source for source in sources)}
        if path != folder / "registry.py":
            assert known <= {path.parent.name}, path
        if any(source.endswith("providers.registry") for source in sources):
            assert path in {ROOT / "services/worker/main.py", ROOT / "services/cli/checks/providers.py"}, path


def test_a_request_is_parsed_in_one_place() -> None:
    sources = [path.read_text() for path in (ROOT / "services" / "worker").rglob("*.py")]
    assert sum(source.count("CompletionRequest.parse(") for source in sources) == 1
