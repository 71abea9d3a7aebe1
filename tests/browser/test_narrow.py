"""The page on a phone: everything within the screen, whatever the words."""

import json

import pytest
from playwright.async_api import Browser

from shared.log import events
from shared.store.redis.store import RedisStore
from tests.browser.tab import Tab
from tests.support.stack import Stack
from tests.support.streams import append, begin, texts

__all__ = ()

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="package"),
]

LONG = "https://example.test/" + "unbreakable" * 40

# Elements that reach beyond the right edge, but for those inside something that scrolls by itself.
BEYOND = """() => [...document.querySelectorAll('body *')]
  .filter(e => e.getBoundingClientRect().right > innerWidth + 0.5 && !e.closest('.unseen'))
  .map(e => e.outerHTML.slice(0, 120))"""


@pytest.mark.parametrize("width", [320, 390])
async def test_nothing_overflows(chromium: Browser, stack: Stack, log: RedisStore, width: int) -> None:
    stream = await begin(log, tenant="public", model="m" * 60, metadata=json.dumps({"prompt": LONG}).encode())
    said = [
        events.delta("reasoning", LONG),
        *texts(LONG),
        events.tool_call(0, LONG, call_id="call_1", name="search" * 20),
        events.error("provider_failed", LONG, retryable=True, usage={}),
    ]
    context = await chromium.new_context(viewport={"width": width, "height": 700}, has_touch=True, is_mobile=True)
    tab = await Tab.open(context, f"http://127.0.0.1:{stack.ports[0]}")
    await tab.page.locator(f"[data-testid=running] a[href='/?stream={stream}']").wait_for()
    assert await tab.page.evaluate(BEYOND) == []

    await append(log, stream, said)
    await tab.page.goto(f"http://127.0.0.1:{stack.ports[0]}/?stream={stream}")
    await tab.is_in("ended")
    await tab.page.locator(".reasoning summary").click()

    assert await tab.page.evaluate(BEYOND) == []
    assert await tab.page.evaluate("() => document.scrollingElement.scrollWidth - innerWidth") <= 0
    assert tab.complaints == []
    await context.close()
