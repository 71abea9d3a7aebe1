"""docs/errors.md lists every code with its status, and says truly whether a retry can help."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from services.console.failure import Failure
from shared.errors import ProviderError, TailraceError
from shared.log.lineage import ResetReason

__all__ = ()

PAGE = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()
REFUSALS, ENDINGS, READERS = re.split(r"^## .*\n", PAGE, flags=re.MULTILINE)[1:]
YES_NO = {True: "yes", False: "no"}


# Known as a subclass only once it is imported, which must not depend on what ran before.
OUTSIDE = (Failure,)


def errors(base: type[TailraceError] = TailraceError) -> Iterator[type[TailraceError]]:
    yield base
    for derived in base.__subclasses__():
        yield from errors(derived)


def rows(table: str) -> set[tuple[str, ...]]:
    lines = (line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| `"))
    return {tuple(cell.strip("`") for cell in line[:-1]) for line in lines}


def test_no_code_means_two_things() -> None:
    by_code: dict[str, set[tuple[int, bool]]] = {}
    for error in errors():
        by_code.setdefault(error.code, set()).add((error.status, error.retryable))
    assert {code: kinds for code, kinds in by_code.items() if len(kinds) > 1} == {}


@pytest.mark.parametrize("error", list(errors()), ids=lambda error: str(error.__name__))
def test_every_error_is_documented(error: type[TailraceError]) -> None:
    refusal = (error.code, str(error.status), YES_NO[error.retryable])
    ending = (error.code, YES_NO[error.retryable])
    assert refusal in rows(REFUSALS) or ending in rows(ENDINGS)


def test_nothing_else_is_documented() -> None:
    refusals = {(error.code, str(error.status), YES_NO[error.retryable]) for error in errors()}
    endings = {(error.code, YES_NO[error.retryable]) for error in errors()}
    assert rows(REFUSALS) <= refusals
    assert rows(ENDINGS) <= endings


def test_every_failure_of_a_provider_is_an_ending() -> None:
    assert {error.code for error in errors(ProviderError)} <= {row[0] for row in rows(ENDINGS)}


def test_every_reason_of_a_reset_is_documented() -> None:
    assert {row[1] for row in rows(READERS) if row[0] == "reset"} == set(get_args(ResetReason))
