"""Results for a person: a table a case on a terminal, the same as Markdown in a file."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from services.bench.result import Check, Result, Row

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ("markdown", "number", "tables")


def number(value: float) -> str:
    """Three digits that matter, and thousands as they are."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def tables(result: Result) -> "Iterator[RenderableType]":
    """For a terminal: figures down, subjects across; then the promises."""
    from rich.table import Table

    for case, rows in _cases(result):
        table = Table(title=f"{result.scenario}: {case}", title_justify="left", title_style="bold")
        table.add_column("")
        for row in rows:
            table.add_column(row.subject, justify="right")
        for name, values in _lines(rows):
            table.add_row(name, *values)
        yield table
    for check in result.checks:
        colour = "green" if check.holds else "red"
        yield f"[{colour}]{_word(check)}[/] {_sentence(check)}"
    yield from result.remarks


def markdown(results: Sequence[Result], place: Mapping[str, Any]) -> str:
    """The file `tests/bench/RESULTS.md`."""
    lines = ["# Measured", "", "Written by `tailrace bench --report`; do not edit.", ""]
    lines += [f"- {name}: {value}" for name, value in place.items()]
    for result in results:
        lines += ["", f"## {result.scenario}"]
        for case, rows in _cases(result):
            lines += ["", f"### {case}", "", f"| | {' | '.join(row.subject for row in rows)} |"]
            lines += ["|---|" + "---:|" * len(rows)]
            lines += [f"| {name} | {' | '.join(values)} |" for name, values in _lines(rows)]
        lines += ["", *(f"- {_word(check)}: {_sentence(check)}" for check in result.checks)] if result.checks else []
        lines += ["", *result.remarks] if result.remarks else []
    return "\n".join(lines) + "\n"


def _cases(result: Result) -> Iterator[tuple[str, list[Row]]]:
    for case in dict.fromkeys(row.case for row in result.rows):
        yield case, [row for row in result.rows if row.case == case]


def _lines(rows: Sequence[Row]) -> Iterator[tuple[str, list[str]]]:
    for name in dict.fromkeys(name for row in rows for name in row.figures):
        yield name, [number(row.figures[name]) if name in row.figures else "" for row in rows]


def _word(check: Check) -> str:
    return "holds" if check.holds else "MISSED"


def _sentence(check: Check) -> str:
    return f"{check.what} {number(check.value)} (promised {check.relation} {check.bound:g})"
