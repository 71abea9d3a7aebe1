"""An answer of 150 kB without a line end: whole, fluent, and copied as it is."""

import asyncio

import pytest
from playwright.async_api import BrowserContext

from shared.store.redis.store import RedisStore
from tests.browser.tab import Tab
from tests.support.stack import Stack
from tests.support.streams import begin, end, write

__all__ = ()

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="package"),
]

BYTES = 150_000
# 350 ms before long lines were cut where the browser breaks them, 17 ms after; a busy machine may need more.
MOST_MS = 100
FRAMES = """(count) => new Promise((resolve) => {
  const times = [];
  let last = performance.now();
  const next = (now) => {
    times.push(now - last);
    last = now;
    if (times.length < count) requestAnimationFrame(next);
    else resolve(times.sort((one, other) => one - other));
  };
  requestAnimationFrame(next);
})"""
COPIED = """() => {
  const part = document.querySelector('[data-testid=answer] .part');
  getSelection().selectAllChildren(part);
  const data = new DataTransfer();
  part.dispatchEvent(new ClipboardEvent('copy', { clipboardData: data, bubbles: true, cancelable: true }));
  return data.getData('text/plain');
}"""


@pytest.mark.parametrize("unit", ["word lorem ipsum ", "漢字かな🌊", "solid", "שלום e\u0301 "])
async def test_a_long_line_stays_fluent(context: BrowserContext, stack: Stack, log: RedisStore, unit: str) -> None:
    stream = await begin(log, tenant="public")
    start = unit * (BYTES // len(unit.encode()))
    tail = await write(log, stream, start)
    tab = await Tab.open(context, f"http://127.0.0.1:{stack.ports[0]}", stream=stream)
    await tab.has_text(len(start))

    measuring = asyncio.create_task(tab.page.evaluate(FRAMES, 60))
    text = start
    while not measuring.done():
        tail = await write(log, stream, unit * 4, tail=tail)
        text += unit * 4
        await asyncio.sleep(0.02)
    times = await measuring
    await end(log, stream, tail=tail)
    await tab.is_in("ended")

    assert times[len(times) // 2] < MOST_MS
    assert await tab.text() == text
    assert await tab.page.evaluate(COPIED) == text
    await tab.page.set_viewport_size({"width": 500, "height": 700})
    await asyncio.sleep(0.5)  # the page waits until the width is settled
    assert await tab.text() == text
    assert tab.complaints == []
