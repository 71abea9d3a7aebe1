"""Tabs follow one answer to its end, whatever happens to them and to the edges they read from."""

import asyncio
import json

import pytest
from playwright.async_api import BrowserContext

from tests.browser.tab import Tab
from tests.support.edge import EdgeProcess
from tests.support.nginx import NginxServer
from tests.support.proxy import Proxy
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

TABS = 3


async def open_tabs(context: BrowserContext, url: str, script: Script) -> list[Tab]:
    """Tabs on one stream, which the first has asked for."""
    first = await Tab.open(context, url)
    stream = await first.ask(script)
    others = [await Tab.open(context, url, stream=stream) for _ in range(TABS - 1)]
    return [first, *others]


async def readers_come_to(count: int, *edges: EdgeProcess) -> None:
    async def holds() -> bool:
        return sum(edge.readers for edge in edges) == count

    await eventually(holds, within_s=15, every_s=0.05)


def start_together(edges: list[EdgeProcess]) -> None:
    for edge in edges:
        edge.launch()
    for edge in edges:
        edge.wait_until(edge.is_ready)


async def texts(tabs: list[Tab]) -> list[str]:
    return [await tab.text() for tab in tabs]


@pytest.mark.nginx
async def test_three_tabs_outlive_the_edge_they_use_and_stop_together(
    context: BrowserContext, front: NginxServer, stack: Stack
) -> None:
    used, *others = stack.edges
    for edge in others:
        edge.kill()
    script = Script("three-tabs", chunks=8000, rate=40)  # longer than any machine needs for what follows

    tabs = await open_tabs(context, front.url, script)
    await readers_come_to(TABS, used)
    await asyncio.to_thread(start_together, others)
    used.kill()
    await readers_come_to(TABS, *others)
    held = max(len(text) for text in await texts(tabs))
    for tab in tabs:
        await tab.has_text(held + 200)

    await tabs[1].stop()
    for tab in tabs:
        await tab.is_in("ended")
    assert [await tab.status() for tab in tabs] == ["Stopped"] * TABS
    shown = await texts(tabs)
    assert shown == [shown[0]] * TABS
    assert expected_text(script).startswith(shown[0])
    state = others[0].get(f"/v1/streams/{tabs[0].stream}")[1]
    assert (state["status"], state["content"]) == ("cancelled", [{"type": "text", "text": shown[0]}])
    assert [tab.complaints for tab in tabs] == [[]] * TABS


@pytest.mark.nginx
async def test_three_tabs_end_with_the_exact_text(context: BrowserContext, front: NginxServer, stack: Stack) -> None:
    script = Script("to-the-end", chunks=80, rate=40)
    tabs = await open_tabs(context, front.url, script)
    for tab in tabs:
        await tab.is_in("ended")
    assert await texts(tabs) == [expected_text(script)] * TABS
    assert [tab.complaints for tab in tabs] == [[]] * TABS


async def test_reload_and_a_second_tab_on_another_edge(context: BrowserContext, stack: Stack) -> None:
    here, there, _ = (f"http://127.0.0.1:{port}" for port in stack.ports)
    script = Script("reloaded", chunks=120, rate=40)
    first = await Tab.open(context, here)
    stream = await first.ask(script)
    await first.has_text(200)

    await first.page.reload()
    second = await Tab.open(context, there, stream=stream)

    for tab in (first, second):
        await tab.is_in("ended")
        assert await tab.text() == expected_text(script)
        assert tab.complaints == []
    assert await first.page.locator(".question").all_text_contents() == [script.prompt()]
    await second.shows("The server does not keep questions.")
    state = stack.edges[0].get(f"/v1/streams/{stream}")[1]
    assert script.key not in json.dumps({name: value for name, value in state.items() if name != "content"})


async def test_a_closed_tab_misses_nothing(context: BrowserContext, stack: Stack) -> None:
    here, there, _ = (f"http://127.0.0.1:{port}" for port in stack.ports)
    script = Script("closed", chunks=60, rate=40)
    tab = await Tab.open(context, here)
    stream = await tab.ask(script)
    await tab.has_text(40)

    await tab.page.close()
    again = await Tab.open(context, there, stream=stream)

    await again.is_in("ended")
    assert await again.text() == expected_text(script)


async def test_a_tab_without_network_waits_and_goes_on(context: BrowserContext, stack: Stack) -> None:
    script = Script("offline", chunks=160, rate=40)
    async with Proxy(stack.ports[0]) as network:
        tab = await Tab.open(context, f"http://127.0.0.1:{network.port}")
        await tab.ask(script)
        await tab.has_text(100)

        await context.set_offline(True)
        network.reset_all()  # Chromium lets open connections live on when it is told to be offline
        await tab.is_in("reconnecting")
        assert (await tab.status()).startswith("Connection lost.")
        held = await tab.text()
        assert expected_text(script).startswith(held)
        await context.set_offline(False)

        await tab.is_in("ended")
        assert await tab.text() == expected_text(script)
        assert tab.complaints == []
