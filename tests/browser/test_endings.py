"""What the page says when an answer does not simply come to its end."""

import pytest
from playwright.async_api import BrowserContext

from shared.log.events import done
from shared.store.calls import Compact, Retention
from shared.store.redis.store import RedisStore
from shared.store.replies import Compacted
from tests.browser.tab import Tab
from tests.support.proxy import Proxy
from tests.support.script import Fault, Script, expected_text
from tests.support.stack import Stack
from tests.support.streams import append, begin, end, nonce, write

__all__ = ()

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="package"),
]

UNKNOWN = "0" * 32


@pytest.fixture
def url(stack: Stack) -> str:
    return f"http://127.0.0.1:{stack.ports[0]}"


async def test_a_failed_answer_can_be_asked_for_again(context: BrowserContext, url: str) -> None:
    script = Script("overloaded", fault=Fault("status", status=503, times=4))
    tab = await Tab.open(context, url)
    failed = await tab.ask(script)
    await tab.is_in("ended")
    assert await tab.status() == "Failed"

    again = await tab.retry()
    await tab.is_in("ended")

    assert again != failed
    assert await tab.text() == expected_text(script)
    assert await tab.page.locator(".trouble").is_hidden()
    assert tab.complaints == []


async def test_asking_again_is_not_offered_where_it_cannot_help(context: BrowserContext, url: str) -> None:
    tab = await Tab.open(context, url)
    await tab.ask(Script("refused", fault=Fault("status", status=401, times=1)))
    await tab.shows("The model provider refused the configured credentials.")
    await tab.is_in("ended")
    assert await tab.page.get_by_test_id("retry").is_hidden()
    assert tab.complaints == []


async def test_a_question_that_is_refused_is_given_back(context: BrowserContext, url: str) -> None:
    tab = await Tab.open(context, url)
    await tab.page.locator("[data-testid=model] option").first.wait_for(state="attached")
    await tab.page.evaluate("document.querySelector('[data-testid=model]').append(new Option('nobody', 'nobody'))")
    await tab.page.get_by_test_id("model").select_option("nobody")
    await tab.page.get_by_test_id("prompt").fill("Who are you?")
    await tab.page.get_by_test_id("prompt").press("Enter")
    await tab.is_in("failed")
    assert await tab.page.get_by_test_id("prompt").input_value() == "Who are you?"
    assert await tab.page.get_by_test_id("retry").is_hidden()


async def test_a_restarted_answer_replaces_the_first(context: BrowserContext, url: str, stack: Stack) -> None:
    script = Script("restarted", chunks=120, rate=40, vary=True)
    tab = await Tab.open(context, url)
    await tab.ask(script)
    await tab.has_text(100)
    first = await tab.text()

    for worker in stack.workers:
        worker.kill()
    await tab.shows("No news for 6 s. If the worker is gone, another takes over.")
    for worker in stack.workers:
        worker.start()
    await tab.shows("Another worker took over and started over.")
    await tab.shows("started over once")
    await tab.is_in("ended")

    assert expected_text(script, attempt=0).startswith(first)
    assert await tab.text() == expected_text(script, attempt=1)
    assert tab.complaints == []


async def test_text_that_was_trimmed_away_is_missed_aloud(
    context: BrowserContext, stack: Stack, log: RedisStore
) -> None:
    stream = await begin(log, tenant="public")
    tail = await write(log, stream, "read in time, ")
    async with Proxy(stack.ports[0]) as network:
        tab = await Tab.open(context, f"http://127.0.0.1:{network.port}", stream=stream)
        await tab.has_text(1)
        await context.set_offline(True)
        network.reset_all()
        await tab.is_in("reconnecting")
        tail = await write(log, stream, "never read, ", tail=tail)
        tail = await write(log, stream, "read late", tail=tail)
        (reply,) = await log.compact([Compact(stream, nonce(1), max_bytes=1)])
        assert isinstance(reply, Compacted)
        assert reply.trimmed == len("read in time, never read, ")
        await context.set_offline(False)
        await tab.shows("Some text is missing here")
        await end(log, stream, tail=tail)
        await tab.is_in("ended")

    assert await tab.page.locator("[data-testid=answer] > *").all_text_contents() == [
        "read in time, ",
        "Some text is missing here (trimmed). What follows goes on after it.",
        "read late",
    ]
    assert tab.complaints == []


async def test_an_expired_answer_says_so(context: BrowserContext, url: str, log: RedisStore) -> None:
    brief = Retention(live_ms=60_000, retain_ms=1, tombstone_ms=60_000)
    stream = await begin(log, tenant="public", retention=brief)
    await append(log, stream, [done("stop")], retention=brief)

    tab = await Tab.open(context, url, stream=stream)

    await tab.shows("This answer was kept for a while and has expired.")
    assert await tab.state() == "failed"
    assert tab.complaints == []


async def test_a_deleted_answer_says_so(context: BrowserContext, url: str) -> None:
    asking = await Tab.open(context, url)
    stream = await asking.ask(Script("deleted"))
    await asking.is_in("ended")
    answer = await asking.page.request.delete(f"{url}/v1/streams/{stream}")
    assert answer.status == 204

    tab = await Tab.open(context, url, stream=stream)

    await tab.shows("This answer was deleted.")
    assert tab.complaints == []
    assert await tab.page.evaluate("Object.keys(localStorage).filter(key => key.includes('turn'))") == []
    await asking.page.reload()
    await asking.shows("This answer was deleted.")
    assert await asking.page.locator(".question, [data-testid=answer]").all_text_contents() == ["", ""]


@pytest.mark.parametrize("stream", [UNKNOWN, "../../etc/passwd", "<script>alert(1)</script>"])
async def test_an_unknown_answer_says_so(context: BrowserContext, url: str, stream: str) -> None:
    tab = await Tab.open(context, url, stream=stream)

    await tab.shows("Answer not found.")
    assert tab.complaints == []
