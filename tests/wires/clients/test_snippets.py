"""The snippets for other people's clients are run as they stand, and each prints what the provider has said."""

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

import pytest
from playwright.async_api import TimeoutError as PlaywrightTimeout
from playwright.async_api import async_playwright

from tests.conftest import missing
from tests.docs.broker import Broker, running_broker
from tests.docs.markdown import ROOT, Block, blocks
from tests.support.calls import call, state
from tests.support.redis_server import KINDS, RedisServer, ServerMissing, running_redis
from tests.support.waiting import eventually
from tests.wires.clients.chromium import FLAGS, blank, bundled
from tests.wires.clients.running import CLIENTS, ClientMissing, environment_of_clients, node24

__all__ = ()

QUESTION: Final = "Why is the sky blue?"
SHOWN: Final = "document.querySelector('#answer').textContent"
IN_A_PAGE: Final = "// in a page\n"
WITHIN_S: Final = 90
SIDE_BY_SIDE: Final = 3
PAGES: Final = (ROOT / "docs" / "clients.md", ROOT / "README.md")
# Of the README, what asks the same; its commands have tests of their own.
SNIPPETS: Final = [
    block
    for page, languages in zip(PAGES, ({"js", "python", "sh"}, {"python"}), strict=True)
    for block in blocks(page)
    if block.language in languages
]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    reasons = []
    for kind in KINDS:
        try:
            server = running_redis(kind)
        except ServerMissing as reason:
            reasons.append(str(reason))
        else:
            with server:
                yield server
            return
    missing("; ".join(reasons))


@pytest.fixture(scope="module")
def broker(redis: RedisServer) -> Iterator[Broker]:
    with running_broker(redis) as broker:
        yield broker


@pytest.fixture(scope="module")
def answer(broker: Broker) -> str:
    """What is said to the question, whoever asks."""
    return asyncio.run(answered(broker.edges[0].port))


async def answered(port: int) -> str:
    asked = {"model": "smollm2", "messages": [{"role": "user", "content": QUESTION}]}
    _, created = await call(port, "POST", "/v1/streams", body=asked)

    async def is_over() -> bool:
        return bool((await state(port, created["id"]))["status"] == "done")

    await eventually(is_over, within_s=WITHIN_S, every_s=0.1)
    return str((await state(port, created["id"]))["content"][0]["text"])


def name_of(block: Block) -> str:
    words = re.findall(r"(?:from|import|curl) '?@?([\w./-]+)|new (EventSource)", block.text)
    return "-".join(filter(None, (block.language, *(word for found in words for word in found if word))))[:60]


@pytest.fixture(scope="module")
def printed(request: pytest.FixtureRequest, broker: Broker, answer: str) -> Iterator[Mapping[Block, Future[str]]]:
    """What each snippet prints; they are run side by side."""
    params = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    wanted = [each["block"] for each in params if each.get("block") in SNIPPETS]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        yield {block: pool.submit(printed_by, block, broker, answer) for block in wanted}


@pytest.mark.parametrize("block", SNIPPETS, ids=name_of)
def test_a_snippet_prints_the_answer(block: Block, printed: Mapping[Block, Future[str]], answer: str) -> None:
    assert QUESTION in block.text
    try:
        said = said_in(printed[block].result())
    except ClientMissing as reason:
        missing(str(reason))
    assert answer in said


def said_in(printed: str) -> str:
    """The text, also where whole events are printed."""
    deltas = re.findall(r'"type":"text","delta":("(?:[^"\\]|\\.)*")', printed)
    return "".join(map(json.loads, deltas)) or printed


def printed_by(block: Block, broker: Broker, answer: str) -> str:
    if block.language == "sh":
        return broker.run([block.text])[0]
    text = broker.here(block.text)
    if text.startswith(IN_A_PAGE):
        return asyncio.run(shown_by(text, broker.edges[0].port, answer))
    return run(text, block.language)


def run(text: str, language: str) -> str:
    """What a program prints."""
    place = CLIENTS / ("python" if language == "python" else "node24")
    folder = beside(place)
    try:
        file = folder / ("snippet.py" if language == "python" else "snippet.mjs")
        file.write_text(text, "utf-8")
        program = str(place / "bin" / "python") if language == "python" else str(node24())
        environment = environment_of_clients() | {"PYTHONIOENCODING": "utf-8"}
        done = subprocess.run([program, str(file)], capture_output=True, timeout=WITHIN_S, check=False, env=environment)
    finally:
        shutil.rmtree(folder)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.decode()


def beside(place: Path) -> Path:
    """A new folder beside packages, which are found from there."""
    if not place.exists():
        raise ClientMissing("the clients are not installed: make dev")
    return Path(mkdtemp(prefix="snippet-", dir=place))


async def shown_by(text: str, port: int, answer: str) -> str:
    """What a page shows when all of the answer is there, or after a while."""
    script = page_script(text)
    found = os.environ.get("TAILRACE_TEST_CHROMIUM") or shutil.which("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        page = await browser.new_page()
        url = f"http://127.0.0.1:{port}/"
        await page.route(url, blank)
        await page.goto(url)
        await page.evaluate("document.body.innerHTML = '<p id=answer></p>'")
        await page.add_script_tag(content=script, type="module")
        with suppress(PlaywrightTimeout):
            await page.wait_for_function(f"wanted => {SHOWN} === wanted", arg=answer, timeout=WITHIN_S * 500)
        return str(await page.evaluate(SHOWN))


def page_script(text: str) -> str:
    folder = beside(CLIENTS / "node24")
    try:
        (folder / "snippet.mjs").write_text(text, "utf-8")
        return bundled(folder / "snippet.mjs", form="esm")
    finally:
        shutil.rmtree(folder)
