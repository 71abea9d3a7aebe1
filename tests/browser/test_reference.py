"""The reference at `/docs`, in a browser that can reach nothing but the edge."""

from urllib.parse import urlsplit

import pytest
from playwright.async_api import BrowserContext

from tests.browser.tab import Tab
from tests.support.calls import call
from tests.support.stack import Stack
from tests.support.waiting import eventually

__all__ = ()

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="package"),
]


async def test_the_reference_needs_nobody_but_the_edge(context: BrowserContext, stack: Stack) -> None:
    """Under the same policy as the chat page, without a word from the console."""
    port = stack.ports[0]
    hosts: set[str | None] = set()
    context.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    tab = await Tab.open(context, f"http://127.0.0.1:{port}/docs")
    _, document = await call(port, "GET", "/openapi.json")

    async def is_shown() -> bool:
        return await tab.page.locator("#reference").get_attribute("aria-busy") == "false"

    await eventually(is_shown)
    shown = " ".join(await tab.page.locator("main > details > summary").all_text_contents())
    for path, operations in document["paths"].items():
        for verb in operations:
            assert f"{verb.upper()}{path} " in shown
    assert "CreateStream" not in shown  # its members are in the operation
    await tab.page.get_by_text("POST/v1/streams Create Stream").click()
    assert await tab.page.get_by_text("messages (required)").is_visible()
    assert await tab.page.get_by_text("idempotency-key", exact=True).is_visible()
    assert hosts == {f"127.0.0.1:{port}"}
    assert tab.complaints == []
