"""Following a stream over edges that die, move, refuse or lie."""

import asyncio
import socket
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.edges import Patience
from tailrace.errors import ClientError, Refused
from tailrace.stream_reader import StreamEvent, StreamReader
from tests.cli.fake_edge import ID, NONCE, Fault, error, fake_edge, story
from tests.support.waiting import eventually

__all__ = ()

WORDS = [f"word{number} " for number in range(20)]


def collector() -> tuple[list[StreamEvent], Callable[[StreamEvent], None]]:
    events: list[StreamEvent] = []
    return events, events.append


def text_of(events: list[StreamEvent]) -> str:
    return "".join(event.fields["delta"] for event in events if event.type == "text")


async def test_a_stream_from_its_start_to_its_end() -> None:
    events, sink = collector()
    async with fake_edge(story(*WORDS)) as edge, StreamReader.open([edge.url]) as reader:
        ending = await reader.follow(ID, sink)
    assert [event.type for event in events] == ["start", *["text"] * 20, "usage", "done"]
    assert text_of(events) == "".join(WORDS)
    assert ending.event == events[-1]
    assert events[-1].id == f"1-22.{NONCE}"


@pytest.mark.parametrize("how", ["cut", "reconnect", "clean"])
async def test_after_any_end_the_next_edge_goes_on_at_the_cursor(how: str) -> None:
    log = story(*WORDS)
    events, sink = collector()
    notices: list[str] = []
    async with (
        fake_edge(log, faults=[Fault(0, how), Fault(7, how)]) as one,
        fake_edge(log, faults=[Fault(3, how), Fault(15, how)]) as other,
        StreamReader.open([one.url, other.url], notice=notices.append) as reader,
    ):
        await reader.follow(ID, sink)
    assert [event.type for event in events].count("start") == 1
    assert [dict(event.fields) for event in events[1:]] == log
    assert one.cursors == [None, f"1-3.{NONCE}", f"1-15.{NONCE}"]
    assert other.cursors == [None, f"1-7.{NONCE}"]
    assert len(notices) == 4


@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_what_passes_is_waited_for(status: int) -> None:
    events, sink = collector()
    refusals = [error(status, "draining", "Away.", Retry_After="0")]
    async with fake_edge(story("a"), refusals=refusals) as edge, StreamReader.open([edge.url]) as reader:
        await reader.follow(ID, sink)
    assert text_of(events) == "a"


@pytest.mark.parametrize(
    ("status", "code"), [(400, "invalid_cursor"), (404, "unknown_stream"), (410, "stream_expired")]
)
async def test_a_no_is_final(status: int, code: str) -> None:
    async with fake_edge([], refusals=[error(status, code, "No.")]) as edge, StreamReader.open([edge.url]) as reader:
        with pytest.raises(Refused, match="No\\.") as refused:
            await reader.follow(ID, lambda _: None)
    assert (refused.value.status, refused.value.code) == (status, code)


async def test_at_the_end_nothing_follows() -> None:
    async with fake_edge(story("a")) as edge, StreamReader.open([edge.url]) as reader:
        ending = await reader.follow(ID, lambda _: None, after=f"1-3.{NONCE}")
    assert ending.event is None


async def test_nobody_there_is_said_soon() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        async with StreamReader.open([f"http://127.0.0.1:{nobody.getsockname()[1]}"]) as reader:
            reader.patience = Patience(tries=1)
            with pytest.raises(ClientError, match="cannot connect"):
                await reader.create({})


async def test_a_create_is_repeated_with_the_same_key() -> None:
    refusals = [error(503, "memory_pressure", "Full.", Retry_After="0")]
    async with fake_edge([], refusals=refusals) as edge, StreamReader.open([edge.url]) as reader:
        assert await reader.create({"model": "smollm2"}) == ID
    assert len(edge.keys) == 2
    assert len(set(edge.keys)) == 1


async def test_a_failing_sink_is_no_lost_edge() -> None:
    def broken(_: StreamEvent) -> None:
        raise BrokenPipeError

    async with fake_edge(story("a")) as edge, StreamReader.open([edge.url]) as reader:
        with pytest.raises(BrokenPipeError):
            await reader.follow(ID, broken)
    assert len(edge.cursors) == 1


async def test_cancelled_it_lets_go_of_the_edge() -> None:
    started = asyncio.Event()
    async with fake_edge(story("a")[:1], never_ends=True) as edge, StreamReader.open([edge.url]) as reader:
        async with asyncio.TaskGroup() as tasks:
            following = tasks.create_task(reader.follow(ID, lambda _: started.set()))
            await started.wait()
            following.cancel()
        await eventually(edge.is_deserted)


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://x", "http://", ""])
async def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ClientError, match="not the address"):
        async with StreamReader.open([url]):
            pass


async def test_a_server_that_is_no_edge_is_noticed() -> None:
    async with fake_edge([]) as edge, StreamReader.open([f"{edge.url}/readyz?"]) as reader:
        with pytest.raises(ClientError, match="does not send events"):
            await reader.follow(ID, lambda _: None)


@given(st.integers(1, 40), st.floats(0, 5))
def test_patience_grows_and_ends(failures: int, asked_s: float) -> None:
    patience = Patience(tries=20)
    waits = [patience.next_wait_s(asked_s) for _ in range(failures)]
    assert all(wait is None for wait in waits[20:])
    assert all(wait is not None and asked_s <= wait <= asked_s + 8 for wait in waits[:20])
    patience.refresh()
    assert patience.next_wait_s(None) is not None
