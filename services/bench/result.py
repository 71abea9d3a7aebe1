"""The findings of a scenario: figures by case and subject, and whether they are what was promised."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import inf
from statistics import median
from typing import Any

__all__ = ("Check", "Result", "Row", "at_least", "at_most", "medians", "ratio")


@dataclass(frozen=True, slots=True)
class Row:
    """Figures of one subject (`tailrace`, `floor`, `asgi`, `nchan`) in one case (`wide`). Units are in their names."""

    case: str
    subject: str
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Check:
    """A promise and what was seen. `relation` is `<=` or `>=`."""

    what: str
    value: float
    relation: str
    bound: float

    @property
    def holds(self) -> bool:
        return self.value <= self.bound if self.relation == "<=" else self.value >= self.bound


@dataclass(frozen=True, slots=True)
class Result:
    scenario: str
    rows: Sequence[Row]
    checks: Sequence[Check] = field(default_factory=tuple)
    remarks: Sequence[str] = field(default_factory=tuple)

    def as_json(self) -> dict[str, Any]:
        checks = [asdict(check) | {"holds": check.holds} for check in self.checks]
        return {
            "scenario": self.scenario,
            "rows": [asdict(row) for row in self.rows],
            "checks": checks,
            "remarks": list(self.remarks),
        }

    def find(self, case: str, subject: str) -> Mapping[str, float] | None:
        return next((row.figures for row in self.rows if (row.case, row.subject) == (case, subject)), None)


def at_most(what: str, value: float, bound: float) -> Check:
    return Check(what, value, "<=", bound)


def at_least(what: str, value: float, bound: float) -> Check:
    return Check(what, value, ">=", bound)


def ratio(value: float, base: float) -> float:
    """Return the multiple of the base; a base too small to be measured counts as the smallest there is."""
    return value / base if base else inf


def medians(runs: int, measure: Callable[[], Mapping[str, float]]) -> dict[str, float]:
    """Each figure's median over several runs."""
    return _medians([measure() for _ in range(runs)])


def _medians(figures: Iterable[Mapping[str, float]]) -> dict[str, float]:
    found = list(figures)
    return {name: median(each[name] for each in found) for name in found[0]}
