"""The table client × situation: read from `../cases/*.yaml`, and compared with what a client says in the end."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.script import Script, expected

__all__ = ("SITUATIONS", "Cell", "Result", "all_cells", "differences", "tables")

CASES: Final = Path(__file__).parents[1] / "cases"
SITUATIONS: Final = (
    "uninterrupted",
    "cuts",
    "folding",
    "killed, continue",
    "killed, restart",
    "gap",
    "nothing active",
    "drain",
    "error first",
    "error later",
    "cancelled",
)
Result = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Cell:
    """One client in one situation. `program` is how the client is run; `follows` whether its stream is there before."""

    wire: str
    client: str
    situation: str
    program: Mapping[str, Any]
    follows: bool
    expect: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.client}: {self.situation}"

    @property
    def key(self) -> str:
        """The key of its script: no other cell's answer has the same words."""
        return f"{self.client}-{self.situation}".replace(" ", "-").replace(",", "")


@cache
def tables() -> Mapping[str, Any]:
    """All tables by the name of their wire."""
    return {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in sorted(CASES.glob("*.yaml"))}


def all_cells() -> list[Cell]:
    """Return the cells of all wires; what a table calls absent is none."""
    return [cell for wire, table in tables().items() for cell in _cells(wire, table)]


def _cells(wire: str, table: Mapping[str, Any]) -> Iterator[Cell]:
    for client, program in table["clients"].items():
        for situation in SITUATIONS:
            expect = table["expect"][situation] | table.get("but", {}).get(client, {}).get(situation, {})
            expect = expect | {"drops": program.get("drops", ())}
            if "absent" not in expect:
                follows = table["begins"] == "follow" or situation == "gap"
                yield Cell(wire, client, situation, program, follows, expect)


def differences(expect: Mapping[str, Any], result: Result, script: Script) -> list[str]:
    """Return one line for each thing that is not as expected."""
    found = [
        f"{name}: {result.get(name)!r} instead of {wanted!r}"
        for name, wanted in expect.items()
        if name not in {"said", "notes", "drops"} and result.get(name) != wanted
    ]
    notes = result.get("notes") or {}
    found += [
        f"{name}: {notes.get(name)!r} instead of {wanted!r}"
        for name, wanted in expect.get("notes", {}).items()
        if notes.get(name) != wanted
    ]
    if "said" in expect:
        found += _unlike(expect["said"], result, script, expect.get("drops", ()))
    return found


def _unlike(said: str, result: Result, script: Script, drops: Sequence[str]) -> list[str]:
    """How the words differ from those of the script, kind by kind; of the kinds that a client drops it has none."""
    whole = _words(script, attempt=1 if said == "last" else 0) | dict.fromkeys(drops, "")
    heard = {
        "reasoning": result.get("reasoning") or "",
        "text": result.get("text") or "",
        "tool_call": "".join(call["arguments"] for call in result.get("calls") or ()),
    }
    if said == "nothing":
        return [f"{kind}: {text[:80]!r} instead of nothing" for kind, text in heard.items() if text]
    bad = [_difference(kind, text, whole[kind]) for kind, text in heard.items() if not _fits(said, text, whole[kind])]
    if not any(heard.values()) and not drops:
        bad.append("not a word")
    if said in {"all", "last"} and [call["name"] for call in result.get("calls") or ()] != ["search"]:
        bad.append(f"calls: {result.get('calls')!r:.200}")
    return bad


def _fits(said: str, text: str, whole: str) -> bool:
    if said == "part":
        return whole.startswith(text)
    if said == "rest":
        return whole.endswith(text)
    return text == whole


def _difference(kind: str, text: str, whole: str) -> str:
    at = next((i for i, (one, other) in enumerate(zip(text, whole, strict=False)) if one != other), -1)
    at = min(len(text), len(whole)) if at < 0 else at
    here = slice(max(0, at - 20), at + 40)
    return f"{kind}: {len(text)} characters instead of {len(whole)}, at {at} {text[here]!r} instead of {whole[here]!r}"


@cache
def _words(script: Script, attempt: int) -> dict[str, str]:
    parts: Sequence[tuple[str, str]] = expected(script, attempt=attempt)
    words = {"reasoning": "", "text": "", "tool_call": ""}
    for kind, text in parts:
        words[kind] += text
    return words
