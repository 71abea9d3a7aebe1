"""Six live tabs at one edge over HTTP/1.1, which is all that a browser connects: none of them may be locked out."""

import pytest
from playwright.async_api import BrowserContext, Page

from tests.browser.tab import Tab
from tests.support.script import Script, expected_text
from tests.support.stack import Stack
from tests.support.waiting import eventually

__all__ = ()

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="package"),
]

TABS = 6
# Longer than any machine needs for what follows.
LONG = 8000
# Headless Chromium shows all its tabs at once, so the page is told what it would be told. All else is the browser's.
TURN = """(state) => {
  Object.defineProperty(document, 'visibilityState', { get: () => state, configurable: true });
  document.dispatchEvent(new Event('visibilitychange'));
}"""


@pytest.fixture
def url(stack: Stack) -> str:
    return f"http://127.0.0.1:{stack.ports[0]}"


async def hide(page: Page) -> None:
    await page.evaluate(TURN, "hidden")


async def show(page: Page) -> None:
    await page.evaluate(TURN, "visible")


async def live_tabs(context: BrowserContext, url: str, key: str) -> list[Tab]:
    """Six tabs, each with an answer of its own that is being written."""
    tabs = []
    for number in range(TABS):
        tab = await Tab.open(context, url)
        await tab.ask(Script(f"{key}-{number}", chunks=LONG, rate=20))
        await tab.has_text(10)
        tabs.append(tab)
    return tabs


async def test_stop_works_in_each_of_six_live_tabs(context: BrowserContext, url: str, stack: Stack) -> None:
    tabs = await live_tabs(context, url, "six-stops")
    assert stack.edges[0].readers == TABS
    for number, tab in enumerate(tabs):
        await tab.stop()
        await tab.is_in("ended")
        assert await tab.status() == "Stopped"
        text = await tab.text()
        assert expected_text(Script(f"six-stops-{number}", chunks=LONG)).startswith(text)
        state = stack.edges[0].get(f"/v1/streams/{tab.stream}")[1]
        assert (state["status"], state["content"]) == ("cancelled", [{"type": "text", "text": text}])
    assert [tab.complaints for tab in tabs] == [[]] * TABS


async def test_hidden_tabs_let_go_so_that_a_seventh_page_loads(context: BrowserContext, url: str, stack: Stack) -> None:
    tabs = await live_tabs(context, url, "hidden")
    for tab in tabs:
        await hide(tab.page)

    async def are_gone() -> bool:
        return stack.edges[0].readers == 0

    await eventually(are_gone, within_s=25, every_s=0.1)
    seventh = await Tab.open(context, url)
    script = Script("seventh", chunks=20)
    await seventh.ask(script)
    await seventh.is_in("ended")
    assert await seventh.text() == expected_text(script)

    first = tabs[0]
    assert await first.status() == "Paused while this tab is hidden"
    held = len(await first.text())
    await show(first.page)
    await first.has_text(held + 200)
    assert expected_text(Script("hidden-0", chunks=LONG)).startswith(await first.text())
    for tab in tabs:
        await show(tab.page)
        await tab.stop()
        await tab.is_in("ended")
    assert [tab.complaints for tab in tabs] == [[]] * TABS
