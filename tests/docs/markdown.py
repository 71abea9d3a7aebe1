"""What tests need of a Markdown page: its fenced blocks, its links, the tests it names."""

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ("ROOT", "Block", "blocks", "links", "named_tests", "pages")

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)|(?:src|srcset)=\"([^\"]+)\"")
_TEST = re.compile(r"`([a-z]+/\w+\.py)::(test_\w+)`")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language as written after the fence, and what is in it."""

    language: str
    text: str


def pages() -> list[Path]:
    """Every page that people read."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("shared/*.md"), *ROOT.glob("tests/*/*.md")])


def blocks(page: Path) -> list[Block]:
    return [Block(language, text) for language, text in _FENCE.findall(page.read_text("utf-8"))]


def links(page: Path) -> set[str]:
    """Where the page points to within this repository."""
    prose = _FENCE.sub("", page.read_text("utf-8"))
    found = {first or second for first, second in _LINK.findall(prose)}
    return {target for target in found if "://" not in target and not target.startswith("mailto:")}


def named_tests(page: Path) -> list[tuple[str, str]]:
    """The tests a page names, as (file below tests/, function)."""
    return _TEST.findall(page.read_text("utf-8"))
