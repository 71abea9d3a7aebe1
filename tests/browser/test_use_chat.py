"""A page with `useChat`, its transports unmodified: the edge that it reads from is killed, and the answer is exact."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Page, Route

from tests.conftest import missing
from tests.support.calls import call
from tests.support.nginx import NginxServer
from tests.support.script import Script, expected
from tests.support.stack import MODEL, Stack
from tests.support.waiting import eventually
from tests.wires.clients.chromium import PROGRAMS, bundled
from tests.wires.clients.running import ClientMissing

__all__ = ()

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.nginx,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="package"),
]

EMPTY: Final = '<!doctype html><meta charset="utf-8"><title>A page of yours</title><div id="root"></div>'
# A folder for pictures of the page before, during and after, for those who want to see it.
SHOTS: Final = os.environ.get("TAILRACE_TEST_SHOTS")
LOOKED_AT: Final = "document.dispatchEvent(new Event('visibilitychange'))"


@pytest.fixture(scope="module")
def program() -> str:
    """The page's script, with React and the AI SDK in it."""
    try:
        return bundled(PROGRAMS / "use_chat.jsx")
    except (ClientMissing, FileNotFoundError) as reason:
        missing(str(reason))


@pytest_asyncio.fixture(loop_scope="package")
async def page(context: BrowserContext, front: NginxServer, program: str) -> Page:
    """An empty page of the edges' own site, with the script in it."""

    async def empty(route: Route) -> None:
        await route.fulfill(status=200, content_type="text/html", body=EMPTY)

    page = await context.new_page()
    await page.route("**/a-page-of-yours", empty)
    await page.goto(f"{front.url}/a-page-of-yours")
    await page.add_script_tag(content=program)
    return page


async def asks(page: Page, front: NginxServer, script: Script, transport: str) -> None:
    asked = {
        "id": script.key,
        "url": front.url,
        "question": script.prompt(),
        "model": MODEL,
        "with": {"transport": transport},
    }
    await page.evaluate("async asked => { window.chat = await program.mount(asked); }", asked)


async def said(page: Page) -> Mapping[str, Any]:
    found: Mapping[str, Any] = await page.evaluate("window.chat.state()")
    return found


async def has_status(page: Page, status: str) -> bool:
    return await page.locator(f"b[data-status={status}]").count() == 1


async def shot(page: Page, name: str) -> None:
    if SHOTS is not None:
        await page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


async def exactly(page: Page, script: Script) -> None:
    """The message, in the chat and on the screen."""
    words = dict(expected(script))
    found = await said(page)
    assert (found["text"], found["reasoning"]) == (words["text"], words["reasoning"])
    assert [call["arguments"] for call in found["calls"]] == [words["tool_call"]]
    assert await page.locator("article.assistant").count() == 1
    assert (
        await page.locator("article.assistant [data-part=text]").evaluate("each => each.textContent") == words["text"]
    )


async def lose_the_edge(page: Page, stack: Stack) -> None:
    """Kill the edge that the page reads from, in the middle of the answer."""

    async def is_in_the_middle() -> bool:
        return len((await said(page))["text"]) > 300

    async def is_one() -> bool:
        return sum(edge.readers for edge in stack.edges) == 1  # those of the test before may still be leaving

    await eventually(is_one, within_s=20, every_s=0.05)
    await eventually(is_in_the_middle, within_s=20, every_s=0.05)
    assert await has_status(page, "streaming")
    next(edge for edge in stack.edges if edge.readers).kill()


async def test_a_workflow_transport_goes_on_by_itself(page: Page, front: NginxServer, stack: Stack) -> None:
    script = Script("use-chat-workflow", chunks=420, rate=50, kinds="mixed")
    await asks(page, front, script, "workflow")
    await lose_the_edge(page, stack)
    await shot(page, "workflow-1-killed")
    await eventually(lambda: has_status(page, "ready"), within_s=30, every_s=0.1)
    await shot(page, "workflow-2-recovered")
    await exactly(page, script)


async def test_the_default_transport_goes_on_when_the_page_is_looked_at(
    page: Page, front: NginxServer, stack: Stack
) -> None:
    script = Script("use-chat-default", chunks=420, rate=50, kinds="mixed")
    await asks(page, front, script, "default")
    await lose_the_edge(page, stack)
    await eventually(lambda: has_status(page, "error"), within_s=10, every_s=0.05)
    half = await said(page)
    assert dict(expected(script))["text"].startswith(half["text"])
    await shot(page, "default-1-killed")
    await page.evaluate(LOOKED_AT)
    await eventually(lambda: has_status(page, "ready"), within_s=30, every_s=0.1)
    await shot(page, "default-2-recovered")
    await exactly(page, script)


async def test_a_page_that_was_cut_off_and_comes_after_the_end_gets_the_rest(
    page: Page, front: NginxServer, stack: Stack
) -> None:
    script = Script("use-chat-late", chunks=420, rate=50, kinds="mixed")
    await asks(page, front, script, "default")
    await lose_the_edge(page, stack)
    await eventually(lambda: has_status(page, "error"), within_s=10, every_s=0.05)
    await eventually(lambda: is_over(stack), within_s=30, every_s=0.2)
    await page.evaluate(LOOKED_AT)
    await eventually(lambda: has_status(page, "ready"), within_s=30, every_s=0.1)
    await exactly(page, script)


async def is_over(stack: Stack) -> bool:
    """Return whether the newest stream is done."""
    _, listed = await call(stack.plain.port, "GET", "/v1/streams?limit=1")
    return bool(listed["streams"][0]["status"] == "done")


async def test_a_page_that_is_loaded_again_has_the_answer_that_its_chat_is_at(
    page: Page, front: NginxServer, stack: Stack, program: str
) -> None:
    script = Script("use-chat-reload", chunks=300, rate=50, kinds="mixed")
    await asks(page, front, script, "default")
    await eventually(lambda: has_status(page, "streaming"), within_s=10, every_s=0.05)
    await page.reload()
    await page.add_script_tag(content=program)
    mount = "async asked => { window.chat = await program.mount({ ...asked, stream: asked.id }); }"
    await page.evaluate(mount, {"id": script.key, "url": front.url, "with": {}})
    await eventually(lambda: has_status(page, "streaming"), within_s=10, every_s=0.05)
    await eventually(lambda: has_status(page, "ready"), within_s=30, every_s=0.1)
    await exactly(page, script)
