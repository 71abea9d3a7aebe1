"""Children's logs in one place."""

import io
import json

from hypothesis import given
from hypothesis import strategies as st

from services.local.forwarder import Forwarder, LineSplitter

__all__ = ()


@given(st.lists(st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs"]))), st.integers(1, 9))
def test_lines_survive_any_cut(lines: list[str], size: int) -> None:
    raw = "\n".join(lines).encode()
    splitter = LineSplitter()
    found = [line for start in range(0, len(raw), size) for line in splitter.feed(raw[start : start + size])]
    whole = "\n".join(lines).split("\n")
    assert [*found, *splitter.end()] == (whole if whole[-1] else whole[:-1])


def test_a_line_without_end_comes_in_pieces() -> None:
    splitter = LineSplitter()
    pieces = [line for _ in range(10) for line in splitter.feed(b"x" * 30_000)]
    assert sum(map(len, [*pieces, *splitter.end()])) == 300_000
    assert max(map(len, pieces)) <= 64 * 1024 + 30_000


def test_text_names_who_spoke() -> None:
    stream = io.StringIO()
    forwarder = Forwarder(stream, "text")
    forwarder.line("edge-8000", "ready")
    forwarder.line("redis", "  ")
    forwarder.line("redis", "also")
    assert stream.getvalue() == "edge-8000 │ ready\nredis     │ also\n"


def test_a_name_keeps_its_colour() -> None:
    stream = io.StringIO()
    for name in ("edge-8000", "redis", "edge-8000"):
        Forwarder(stream, "text", colour=True).line(name, "x")
    first, other, again = stream.getvalue().splitlines()
    assert first == again
    assert first.startswith("\x1b[")
    assert other[:5] != first[:5]


def test_json_lines_say_which_process() -> None:
    stream = io.StringIO()
    forwarder = Forwarder(stream, "json")
    for text in ('{"message":"ready","process":"worker"}', "plain", "{broken", "[1]", '{"a":1} trailing'):
        forwarder.line("worker-2", text)
    first, *rest = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert first == {"message": "ready", "process": "worker-2"}
    assert [line["message"] for line in rest] == ["plain", "{broken", "[1]", '{"a":1} trailing']
    assert {line["process"] for line in rest} == {"worker-2"}
