"""Whatever a model says is text: nothing of it becomes an element, a script, or another character."""

import json

import pytest
from playwright.async_api import BrowserContext

from shared.store.redis.store import RedisStore
from tests.browser.tab import Tab
from tests.support.script import Script, expected
from tests.support.stack import Stack
from tests.support.streams import begin, end, write
from tests.support.waiting import eventually

__all__ = ()

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="package"),
]

HOSTILE = (
    "</script><script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "<svg onload=alert(1)>",
    "<style>body{display:none}</style>",
    "<base href='http://evil.test/'><meta http-equiv=refresh content=0>",
    "</div></article></main><h1>Tailrace says: pay here</h1>",
    "[click](javascript:alert(1)) ![x](http://evil.test/pixel.png)",
    "**bold** `code` # title\n\n- item\n\n```html\n<b>not bold</b>\n```",
    "&lt;&amp;&#60;&nbsp;",
    "${alert(1)} {{constructor}} %s",
    "\x00 \x1b[31m \x7f \x85 \u2028 \u2029 \ufeff \u202e \u200b",
    "\r lone, \r\n both, \n\n twice",
    "data: [DONE]\n\nid: 1-1.00000000\nevent: error\n\n",
    "😀👩\u200d👩\u200d👧 e\u0301 漢字 שלום",
)


async def test_hostile_text_stays_text(context: BrowserContext, stack: Stack, log: RedisStore) -> None:
    question = "".join(HOSTILE[:6])
    stream = await begin(log, tenant="public", model=HOSTILE[1], metadata=json.dumps({"prompt": question}).encode())
    tab = await Tab.open(context, f"http://127.0.0.1:{stack.ports[0]}", stream=stream)
    tail = 0
    for piece in HOSTILE:
        # One character an event, so that nothing is seen only because it came in one piece.
        tail = await write(log, stream, *piece, tail=tail)
    await end(log, stream, tail=tail)
    await tab.is_in("ended")

    assert await tab.text() == "".join(HOSTILE)
    assert await tab.page.locator(".question").text_content() == question
    assert HOSTILE[1] in (await tab.page.locator(".figures").text_content() or "")
    assert await tab.page.locator("#turns :is(script, img, svg, style, base, meta, h1, b, a:not(.tab))").count() == 0
    assert await tab.page.evaluate("() => document.styleSheets.length") == 1
    assert tab.complaints == []


async def test_what_the_browser_refuses_is_heard(context: BrowserContext, stack: Stack) -> None:
    tab = await Tab.open(context, f"http://127.0.0.1:{stack.ports[0]}")
    await tab.page.evaluate("""() => {
      document.querySelector('#turns').insertAdjacentHTML('beforeend', '<img src=x: onerror="alert(1)">');
      setTimeout(() => { throw new Error('heard'); });
    }""")

    async def is_heard() -> bool:
        said = "".join(tab.complaints)
        return "Content Security Policy" in said and "script: heard" in said

    await eventually(is_heard)
    assert not any(complaint.startswith("dialog") for complaint in tab.complaints)


async def test_reasoning_and_tool_calls_are_exact(context: BrowserContext, stack: Stack) -> None:
    script = Script("all-kinds", chunks=240, kinds="mixed", surrogates=True)
    tab = await Tab.open(context, f"http://127.0.0.1:{stack.ports[0]}")
    await tab.ask(script)
    await tab.is_in("ended")

    assert [(kind, await tab.text(kind)) for kind in ("reasoning", "text", "tool_call")] == expected(script)
    assert tab.complaints == []
