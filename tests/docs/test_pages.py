"""Links lead somewhere, named tests exist, pictures are small, and no page knows the machine it was written on."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, links, named_tests, pages

__all__ = ()

LARGEST_IMAGE_BYTES = 200 * 1024
PROMISES = 13

each_page = pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))


@cache
def functions_in(path: Path) -> frozenset[str]:
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    return frozenset(node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    assert {target for target in links(page) if not (page.parent / target).exists()} == set()


@each_page
def test_named_tests_exist(page: Path) -> None:
    missing = [f"{file}::{name}" for file, name in named_tests(page) if name not in functions_in(ROOT / "tests" / file)]
    assert missing == []


@each_page
def test_no_page_names_a_place_on_one_machine(page: Path) -> None:
    assert re.findall(r"/(?:home|root|work|Users)/\w+", page.read_text("utf-8")) == []


def test_every_promise_has_its_check() -> None:
    table = (ROOT / "README.md").read_text("utf-8").partition("## What is promised")[2].partition("### ")[0]
    rows = re.findall(r"^\| (\d+) \|.*\| (.*) \|$", table, re.MULTILINE)
    assert [int(number) for number, _ in rows] == list(range(1, PROMISES + 1))
    assert [number for number, checks in rows if "::test_" not in checks] == []


@pytest.mark.parametrize("image", sorted(ROOT.glob("docs/img/*")), ids=lambda image: str(image.name))
def test_images_are_small(image: Path) -> None:
    assert image.stat().st_size <= LARGEST_IMAGE_BYTES
