"""The README's commands run, and print what it says they print."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import missing
from tests.docs.broker import running_broker
from tests.docs.markdown import ROOT, Block, blocks
from tests.support.redis_server import KINDS, RedisServer, ServerMissing, running_redis

__all__ = ()

README = ROOT / "README.md"
BLOCKS = blocks(README)


class Shape(NamedTuple):
    """A field of SSE, and of the JSON object in it its type and its members."""

    field: str
    kind: str
    members: frozenset[str]


def is_for_a_running_broker(block: Block) -> bool:
    return block.language == "sh" and not block.text.startswith("make ")


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A Redis of its own, set up as `tailrace up` would, so that `tailrace doctor` finds nothing wrong."""
    reasons = []
    for kind in KINDS:
        try:
            server = running_redis(kind, appendonly=True, args=("--maxmemory", "256mb"))
        except ServerMissing as reason:
            reasons.append(str(reason))
        else:
            with server:
                yield server
            return
    missing("; ".join(reasons))


@pytest.mark.slow
def test_the_commands_print_what_is_written_below_them(redis: RedisServer) -> None:
    with running_broker(redis) as broker:
        commands = [block for block in BLOCKS if is_for_a_running_broker(block)]
        printed = broker.run([block.text for block in commands])
    assert len(commands) >= 4
    for block, output in zip(commands, printed, strict=True):
        assert '"error":{' not in output
        written = BLOCKS[BLOCKS.index(block) + 1 :][:1]
        if written and written[0].language == "text":
            assert [shape for shape in shapes(written[0].text) if not is_there(shape, shapes(output))] == [], output


def test_the_targets_of_make_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"[`\n]make (\w+)", README.read_text()))
    assert {target for target in named if not re.search(rf"^{target}:", makefile, re.MULTILINE)} == set()


def test_the_diagram_is_that_of_the_architecture() -> None:
    (diagram,) = [block.text for block in BLOCKS if "──▶" in block.text]
    assert diagram in [block.text for block in blocks(ROOT / "ARCHITECTURE.md")]


def test_files_that_are_shown_are_there() -> None:
    assert {path for path in named_files() if not path.exists()} == set()


def named_files() -> set[Path]:
    return {ROOT / name for name in re.findall(r"`((?:docs|deploy|shared|services)/[\w./-]+)`", README.read_text())}


def shapes(output: str) -> set[Shape]:
    """What kinds of lines there are."""
    return {shape for line in output.splitlines() if (shape := shape_of(line)) is not None}


def shape_of(line: str) -> Shape | None:
    name, _, value = line.partition(": ") if not line.startswith("{") else ("", "", line)
    if not value.startswith("{"):
        return Shape(name, "", frozenset()) if name in {"id", "retry", "data"} else None
    fields = json.loads(value)
    return Shape(name, fields.get("type", ""), frozenset(fields))


def is_there(shape: Shape, printed: set[Shape]) -> bool:
    """Whether a line like this was printed, perhaps with more members: a start names its provider if it has one yet."""
    return any(shape[:2] == other[:2] and shape.members <= other.members for other in printed)
