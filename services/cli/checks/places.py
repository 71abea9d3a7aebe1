"""The place where a setting was written: the line of the file, or the variable."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from shared.settings.settings import ENVIRONMENT_PREFIX

__all__ = ("Places",)

_TABLES: Final = re.compile(r"\s*\[\[\s*([\w-]+)\s*\]\]")
_TABLE: Final = re.compile(r"\s*\[")
_KEY: Final = re.compile(r"\s*\"?([\w-]+)\"?\s*(?:=|\.)")

Where = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Places:
    """Lines of a configuration file by setting: `("retain_s",)`, or `("providers", 0, "name")` in a table."""

    path: Path
    lines: Mapping[Where, int] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, path: Path, environment: Mapping[str, str]) -> Self:
        """Read the file as a person would: a setting is where its name begins a line. None of it is judged here."""
        try:
            text = path.read_text("utf-8", "replace")
        except OSError:
            text = ""
        return cls(path, _lines(text), environment)

    def of(self, where: Sequence[str | int]) -> str:
        """Return `tailrace.toml:7`, or the variable, which wins over the file; nothing if it is in neither."""
        if self.is_variable(where):
            return _variable(where)
        for length in range(len(where), 0, -1):
            if line := self.lines.get(tuple(where[:length])):
                return f"{self.path}:{line}"
        return ""

    def is_variable(self, where: Sequence[str | int]) -> bool:
        """Return whether the environment says it."""
        return _variable(where) in self.environment

    def said_twice(self) -> list[tuple[str, str]]:
        """Return the settings that stand in the file although a variable overrules it: variable and line."""
        return [
            (_variable(where), f"{self.path}:{line}")
            for where, line in self.lines.items()
            if len(where) == 1 and self.is_variable(where)
        ]


def _variable(where: Sequence[str | int]) -> str:
    return f"{ENVIRONMENT_PREFIX}{str(where[0]).upper()}"


def _lines(text: str) -> dict[Where, int]:
    lines: dict[Where, int] = {}
    counts: dict[str, int] = {}
    table: Where | None = ()
    for number, line in enumerate(text.splitlines(), 1):
        if tables := _TABLES.match(line):
            name = tables[1]
            table = (name, counts.get(name, 0))
            counts[name] = counts.get(name, 0) + 1
            lines[table] = number
        elif _TABLE.match(line) and not line.startswith((" ", "\t")):
            table = None  # a table that no setting is in; an array that goes on is indented
        elif table is not None and (key := _KEY.match(line)):
            lines.setdefault((*table, key[1]), number)
    return lines
