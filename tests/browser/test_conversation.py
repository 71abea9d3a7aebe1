"""What the page keeps and shows of conversations: over tabs, in any script, and before anything was asked."""

import json
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page, Request

from shared.log import events
from shared.store.redis.store import RedisStore
from tests.browser.tab import Tab
from tests.support.script import Script, expected_text
from tests.support.stack import MODEL, Stack
from tests.support.streams import append, begin, texts

__all__ = ()

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="package"),
]

# Where the composer stands, and how high it is.
COMPOSER = "() => { const r = document.querySelector('#composer').getBoundingClientRect(); return [r.top, r.height]; }"


@pytest.fixture
def url(stack: Stack) -> str:
    return f"http://127.0.0.1:{stack.ports[0]}"


async def questions(page: Page) -> list[str]:
    return await page.locator(".question").all_text_contents()


async def test_any_tab_of_the_browser_has_the_whole_conversation(context: BrowserContext, url: str) -> None:
    scripts = [Script(f"turn-{number}", chunks=10) for number in range(3)]
    tab = await Tab.open(context, url)
    for script in scripts:
        stream = await tab.ask(script)
        await tab.is_in("ended")
    other = await Tab.open(context, url, stream=stream)
    await other.is_in("ended")
    assert await questions(other.page) == [script.prompt() for script in scripts]
    answers = await other.page.locator(".answer").all_text_contents()
    assert answers == [expected_text(script) for script in scripts]
    assert tab.complaints == other.complaints == []


async def test_what_is_no_longer_kept_is_said(context: BrowserContext, url: str) -> None:
    tab = await Tab.open(context, url)
    first = await tab.ask(Script("forgotten"))
    await tab.is_in("ended")
    second = await tab.ask(Script("kept"))
    await tab.is_in("ended")
    await tab.page.evaluate(f"localStorage.removeItem('tailrace.turn.{first}')")
    await tab.page.reload()
    await tab.shows("The earlier conversation is no longer kept in this browser.")
    assert await questions(tab.page) == [Script("kept").prompt()]
    assert tab.stream == second


async def test_an_answer_that_another_tab_left_half_is_completed(context: BrowserContext, url: str) -> None:
    script = Script("left-half", chunks=60, rate=40)
    tab = await Tab.open(context, url)
    stream = await tab.ask(script)
    await tab.has_text(20)
    await tab.page.close()
    other = await Tab.open(context, url, stream=stream)
    await other.is_in("ended")
    assert (await questions(other.page), await other.text()) == ([script.prompt()], expected_text(script))


async def test_answers_that_are_running_are_one_click_away(context: BrowserContext, url: str) -> None:
    script = Script("running", chunks=4000, rate=40)
    tab = await Tab.open(context, url)
    stream = await tab.ask(script)
    await tab.has_text(20)

    other = await Tab.open(context, url)
    link = other.page.locator(f"[data-testid=running] a[href='/?stream={stream}']")
    await link.wait_for()
    assert script.prompt() in (await link.text_content() or "")
    await link.click()
    await other.has_text(20)
    assert await questions(other.page) == [script.prompt()]

    await other.stop()
    for each in (tab, other):
        await each.is_in("ended")
    assert tab.complaints == other.complaints == []


async def test_a_script_from_right_to_left_runs_so(context: BrowserContext, url: str, log: RedisStore) -> None:
    stream = await begin(log, tenant="public")
    await append(log, stream, [*texts("שלום עולם\nHello world\n", "مرحبا"), events.done("stop")])
    tab = await Tab.open(context, url, stream=stream)
    await tab.is_in("ended")
    sides = await tab.page.evaluate("""() => {
      const block = document.querySelector('[data-testid=answer] .block');
      const range = document.createRange();
      const node = block.firstChild;
      const middle = (block.getBoundingClientRect().left + block.getBoundingClientRect().right) / 2;
      return node.data.split('\\n').map((line) => {
        const at = node.data.indexOf(line);
        range.setStart(node, at);
        range.setEnd(node, at + 1);
        return range.getBoundingClientRect().left > middle ? 'right' : 'left';
      });
    }""")
    assert sides == ["right", "left", "right"]
    await tab.page.get_by_test_id("prompt").fill("שלום")
    assert await tab.page.get_by_test_id("prompt").evaluate("e => getComputedStyle(e).direction") == "rtl"


@pytest.mark.parametrize("width", [320, 1000])
async def test_the_composer_stays_where_it_is(context: BrowserContext, url: str, stack: Stack, width: int) -> None:
    tab = await Tab.open(context, url)
    await tab.page.set_viewport_size({"width": width, "height": 700})
    places = [await tab.page.evaluate(COMPOSER)]
    await tab.ask(Script("still", chunks=4000, rate=40))
    places.append(await tab.page.evaluate(COMPOSER))
    await tab.has_text(20)
    for worker in stack.workers:
        worker.kill()
    await tab.shows("No news for")
    places.append(await tab.page.evaluate(COMPOSER))
    for worker in stack.workers:
        worker.start()
    await tab.stop()
    await tab.is_in("ended")
    places.append(await tab.page.evaluate(COMPOSER))
    assert places == [places[0]] * len(places)


async def test_there_is_one_first_heading_whatever_is_shown(context: BrowserContext, url: str) -> None:
    tab = await Tab.open(context, url)
    assert await tab.page.get_by_role("heading", level=1).all_text_contents() == ["A completion that cannot be lost."]
    script = Script("headed")
    await tab.ask(script)
    await tab.is_in("ended")
    assert await tab.page.get_by_role("heading", level=1).all_text_contents() == [script.prompt()]


async def test_nobody_who_could_answer_is_said(context: BrowserContext, url: str, stack: Stack) -> None:
    script = Script("late-worker")
    for worker in stack.workers:
        worker.kill()
    tab = await Tab.open(context, url)
    await tab.ask(script)
    await tab.shows("No worker is running. The answer begins when one does.")
    for worker in stack.workers:
        worker.start()
    await tab.is_in("ended")
    assert await tab.text() == expected_text(script)
    assert tab.complaints == []


async def test_a_question_is_in_the_request_and_in_this_browser_and_nowhere_else(
    context: BrowserContext, url: str, log: RedisStore
) -> None:
    """Its stream's metadata would show it to every caller of the tenant, and outlive the request."""
    tab = await Tab.open(context, url)
    sent: list[Any] = []

    def note(request: Request) -> None:
        if request.method == "POST" and request.url.endswith("/v1/streams"):
            sent.append(request.post_data_json)

    tab.page.on("request", note)
    script = Script("private", chunks=10)
    stream = await tab.ask(script)
    await tab.is_in("ended")
    (body,) = sent
    assert script.prompt() in [message["content"] for message in body.pop("messages")]
    assert script.prompt() not in json.dumps(body, ensure_ascii=False)
    meta = await log.meta(stream)
    assert meta is not None
    assert script.prompt() not in json.dumps(meta.metadata, ensure_ascii=False)
    kept = await tab.page.evaluate("Object.values(localStorage).map(value => JSON.parse(value).prompt)")
    assert script.prompt() in kept


async def test_the_names_that_providers_list_are_offered_and_patterns_are_not(
    context: BrowserContext, url: str
) -> None:
    tab = await Tab.open(context, url)
    await tab.page.locator("[data-testid=model] option").first.wait_for(state="attached")
    offered = await tab.page.locator("[data-testid=model] option").all_text_contents()
    assert MODEL in offered
    assert [name for name in offered if "*" in name] == []
