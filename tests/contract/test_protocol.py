"""PROTOCOL.md against the code: every clause has its test, every name in it is one of the code."""

import ast
import re
from functools import cache
from itertools import takewhile
from pathlib import Path

import pytest

from shared.log.events import KINDS
from shared.log.keys import Keyspace
from shared.store.redis.library import FUNCTIONS

__all__ = ()

ROOT = Path(__file__).parents[2]
PROTOCOL = (ROOT / "shared" / "PROTOCOL.md").read_text("utf-8")
CLAUSE = re.compile(r"^\*\*P-(\d+)\.(\d+)\*\* ", re.MULTILINE)
TEST = re.compile(r"`([a-z]+(?:/\w+)+\.py)::(test_\w+)`")
ANSWER = re.compile(r"\b[A-Z_]{2,}\b")


def clauses() -> dict[str, str]:
    """The text of each clause, up to the next one or the next heading."""
    starts = list(CLAUSE.finditer(PROTOCOL))
    found = {}
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        text = PROTOCOL[start.start() : following.start() if following else len(PROTOCOL)]
        found[f"{start[1]}.{start[2]}"] = re.split(r"^#+ ", text, flags=re.MULTILINE)[0]
    return found


def section(number: int) -> str:
    return PROTOCOL.partition(f"\n## {number} ")[2].partition("\n## ")[0]


@cache
def names_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text("utf-8"))
    functions = (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(function.name for function in functions)


@pytest.mark.parametrize(("number", "text"), clauses().items(), ids=clauses())
def test_every_clause_names_tests_that_exist(number: str, text: str) -> None:
    named = TEST.findall(text)
    assert named, f"P-{number} names no test"
    for path, name in named:
        assert name in names_in(ROOT / "tests" / path), f"P-{number}: there is no {path}::{name}"


def test_clauses_are_numbered_in_order() -> None:
    numbers = [(int(match[1]), int(match[2])) for match in CLAUSE.finditer(PROTOCOL)]
    assert numbers == sorted(set(numbers))
    assert len(numbers) > 50


def test_clauses_stand_in_their_section() -> None:
    for number in range(1, 10):
        assert {match[1] for match in CLAUSE.finditer(section(number))} <= {str(number)}


def test_every_test_that_is_named_is_named_in_a_clause() -> None:
    assert len(TEST.findall(PROTOCOL)) == sum(len(TEST.findall(text)) for text in clauses().values())


def test_kinds_are_those_of_the_protocol() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", section(2), re.MULTILINE)
    assert sorted(listed) == sorted(KINDS)


def test_every_key_is_in_the_table() -> None:
    keys, stream_id = Keyspace(), "3f" + "0" * 30
    names = {key.replace(stream_id, "<…>") for key in keys.of_stream(stream_id)} | {keys.secret, keys.cancels}
    names.add(keys.current(stream_id).replace(stream_id, "<…>"))
    names |= {keys.queue, keys.bell, keys.turns, keys.workers}
    assert set(re.findall(r"^\| `(tailrace:[^`]+)` \|", section(3), re.MULTILINE)) == names


def test_the_keys_of_a_function_are_in_the_order_of_the_protocol() -> None:
    kinds = [key.split(":")[2] for key in Keyspace().of_stream("3f" + "0" * 30)]
    assert f"`{' '.join(kinds)}`" in section(4)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_function_answers_as_the_protocol_says(function: str) -> None:
    source = (ROOT / "shared" / "store" / "redis" / "lua" / f"{function}.lua").read_text("utf-8")
    header = " ".join(takewhile(lambda line: line.startswith("--"), source.splitlines()))
    answers = header.partition("-- Answers")[2].partition("Keeps:")[0]
    row = re.search(rf"^\| `{function}` \|.*\|(.*)\|$", PROTOCOL, re.MULTILINE)
    assert row, f"{function} is not in the table of functions"
    assert set(re.findall(r"`([A-Z_]+)`", row[1])) == set(ANSWER.findall(answers))
