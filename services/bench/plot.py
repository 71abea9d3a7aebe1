"""Plots of how cost grows, as plain SVG: a logarithmic axis across, one line a figure."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from math import log10
from typing import Final

from services.bench.report import number
from services.bench.result import Result

__all__ = ("Line", "drawn", "plots_of")

_WIDTH, _HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 56, 48
_GRID_LINES: Final = 4
_COLOURS: Final = ("#2f6fb0", "#c2571a", "#3b8a3e")


@dataclass(frozen=True, slots=True)
class Line:
    """Points from left to right."""

    name: str
    points: Sequence[tuple[float, float]]


def plots_of(results: Sequence[Result]) -> dict[str, str]:
    """File name to drawing, for every case of `scale`."""
    found = next((result for result in results if result.scenario == "scale"), None)
    if found is None:
        return {}
    drawings = {}
    for case in dict.fromkeys(row.case for row in found.rows):
        rows = [row for row in found.rows if row.case == case]
        names = [name for name in rows[0].figures if name.endswith("_us")]
        lines = [Line(name, [(float(row.subject), row.figures[name]) for row in rows]) for name in names]
        drawings[f"cost-of-{case}.svg"] = drawn(f"CPU per delivered event by number of {case}", case, "µs", lines)
    return drawings


def drawn(title: str, across: str, unit: str, lines: Sequence[Line]) -> str:
    """One plot. Its text takes the colour of the page it stands on."""
    most = max((y for line in lines for _, y in line.points), default=1) * 1.1 or 1
    steps = sorted({x for line in lines for x, _ in line.points})
    place = _Place(steps[0], steps[-1], most)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="12" fill="#777" role="img" aria-label="{escape(title)}">',
        f'<text x="{_LEFT}" y="20" font-size="14">{escape(title)}</text>',
        *_grid(place, most, unit),
        *(_tick(place, step) for step in steps),
        f'<text x="{(_LEFT + _WIDTH - _RIGHT) / 2:.0f}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(across)}</text>',
    ]
    for order, line in enumerate(lines):
        parts += _curve(place, line, _COLOURS[order % len(_COLOURS)], order)
    return "\n".join([*parts, "</svg>"]) + "\n"


@dataclass(frozen=True, slots=True)
class _Place:
    """From values to pixels."""

    first: float
    last: float
    most: float

    def x(self, value: float) -> float:
        span = log10(self.last / self.first) or 1
        return _LEFT + log10(value / self.first) / span * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        return _HEIGHT - _BOTTOM - value / self.most * (_HEIGHT - _TOP - _BOTTOM)


def _grid(place: _Place, most: float, unit: str) -> list[str]:
    parts = []
    for step in range(_GRID_LINES + 1):
        value = most * step / _GRID_LINES
        y = place.y(value)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#999" stroke-opacity=".3"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number(value)} {unit}</text>')
    return parts


def _tick(place: _Place, step: float) -> str:
    return f'<text x="{place.x(step):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{step:,.0f}</text>'


def _curve(place: _Place, line: Line, colour: str, order: int) -> list[str]:
    points = [(place.x(x), place.y(y)) for x, y in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
    name = f'<text x="{_LEFT + 120 * order}" y="40" fill="{colour}">{escape(line.name)}</text>'
    return [f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>', *dots, name]
