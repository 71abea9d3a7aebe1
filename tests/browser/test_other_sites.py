"""Pages of other sites in a real Chromium: what they can have it send changes nothing, and they can read nothing.

The browser takes them for pages of the public internet: the names lead to this machine, their addresses do not count as
local. So nothing but the edge stands between them and the key.
"""

import json
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from shared.store.redis.store import RedisStore
from tests.browser.conftest import CHROMIUM, FLAGS
from tests.conftest import missing
from tests.support.calls import call
from tests.support.edge import running_edge
from tests.support.script import Script
from tests.support.sse_client import SseParser
from tests.support.stack import MODEL, Stack
from tests.support.streams import begin, write

__all__ = ()

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="package"),
]

EVIL, REBOUND = "evil.test", "rebound.test"
# What a form of type text/plain sends is `name=value`: JSON with its equals sign in a string.
FORM = """<iframe name="inner"></iframe><form method="post" enctype="text/plain" action="{action}" target="{target}">
<input name='{{"model":"{model}","messages":[{{"role":"user","content":"' value='"}}]}}'></form>"""


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def site() -> AsyncIterator[int]:
    """A web server with one empty page, on every path."""

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>Another site</title>", content_type="text/html")

    application = web.Application()
    application.router.add_get("/{path:.*}", page)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def deceived(site: int) -> AsyncIterator[Browser]:
    """A Chromium to which both names lead here, and which takes the other site for one of the public internet."""
    found = os.environ.get(CHROMIUM) or shutil.which("chromium")
    if found is None:
        missing("no chromium on PATH")
    names = f"--host-resolver-rules=MAP {EVIL} 127.0.0.1,MAP {REBOUND} 127.0.0.1"
    public = f"--ip-address-space-overrides=127.0.0.1:{site}=public"
    # Newer ones ask the person first, once, and a person says yes.
    unasked = "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=[*FLAGS, names, public, unasked])
        yield browser
        await browser.close()


@asynccontextmanager
async def page_at(browser: Browser, url: str) -> AsyncIterator[Page]:
    context: BrowserContext = await browser.new_context()
    try:
        page = await context.new_page()
        await page.goto(url)
        yield page
    finally:
        await context.close()


async def created(stack: Stack) -> int:
    _, figures = await call(stack.ports[0], "GET", "/v1/stats")
    number: int = figures["streams"]["created"]
    return number


@pytest.mark.parametrize("target", ["_self", "inner"])
async def test_a_form_of_another_site_creates_nothing(deceived: Browser, site: int, stack: Stack, target: str) -> None:
    before = await created(stack)
    action = f"http://127.0.0.1:{stack.ports[0]}/v1/streams"
    async with page_at(deceived, f"http://{EVIL}:{site}/") as page:
        await page.set_content(FORM.format(action=action, target=target, model=MODEL))
        async with page.expect_response(action) as answer:
            await page.evaluate("document.forms[0].submit()")
        response = await answer.value
        sent = await response.request.all_headers()
    assert response.status == 403
    assert (sent["content-type"], sent["origin"]) == ("text/plain", f"http://{EVIL}:{site}")
    assert await created(stack) == before


@pytest.mark.parametrize(("sandbox", "origin"), [("allow-scripts allow-forms", "null"), ("", f"http://{EVIL}")])
async def test_a_frame_creates_nothing(deceived: Browser, site: int, stack: Stack, sandbox: str, origin: str) -> None:
    before = await created(stack)
    action = f"http://127.0.0.1:{stack.ports[0]}/v1/streams"
    async with page_at(deceived, f"http://{EVIL}:{site}/") as page:
        await page.evaluate(
            """([sandbox, content]) => {
              const frame = document.createElement('iframe');
              if (sandbox) frame.sandbox = sandbox;
              frame.srcdoc = content;
              document.body.append(frame);
            }""",
            [sandbox, FORM.format(action=action, target="_self", model=MODEL)],
        )
        form = page.frame_locator("iframe").locator("form")
        async with page.expect_response(action) as answer:
            await form.evaluate("form => form.submit()")
        response = await answer.value
        sent = await response.request.all_headers()
    assert response.status == 403
    assert sent["origin"].startswith(origin)
    assert await created(stack) == before


async def test_scripts_of_another_site_neither_change_nor_read(
    deceived: Browser, site: int, stack: Stack, log: RedisStore
) -> None:
    """`no-cors`, beacons and what asks for leave first."""
    stream = await begin(log, tenant="public")
    await write(log, stream, "a secret")
    before = await created(stack)
    url = f"http://127.0.0.1:{stack.ports[0]}/v1/streams"
    body = f'{{"model":"{MODEL}","messages":[{{"role":"user","content":"x"}}]}}'
    async with page_at(deceived, f"http://{EVIL}:{site}/") as page:
        said = await page.evaluate(
            """async ([url, stream, body]) => {
              const attempt = async (address, init) => {
                try { const r = await fetch(address, init); return r.type === 'opaque' ? 'opaque' : await r.text(); }
                catch (error) { return error.name; }
              };
              navigator.sendBeacon(url, body);
              return [
                await attempt(url, {method: 'POST', mode: 'no-cors', body}),
                await attempt(`${url}/${stream}/cancel`, {method: 'POST', mode: 'no-cors'}),
                await attempt(url, {method: 'POST', headers: {'content-type': 'application/json'}, body}),
                await attempt(`${url}/${stream}`, {method: 'DELETE'}),
                await attempt(url, {}),
                await attempt(`${url}/${stream}/events`, {}),
              ];
            }""",
            [url, stream, body],
        )
    assert said == ["opaque", "opaque", *["TypeError"] * 4]
    assert await created(stack) == before
    assert (await call(stack.ports[0], "GET", f"/v1/streams/{stream}"))[1]["status"] == "running"


async def test_a_rebound_name_lists_and_deletes_nothing(deceived: Browser, stack: Stack, log: RedisStore) -> None:
    """Its page is of the same origin as the edge, so the browser would let it read and write whatever it wants."""
    stream = await begin(log, tenant="public")
    await write(log, stream, "a secret")
    port = stack.ports[0]
    async with page_at(deceived, f"http://{REBOUND}:{port}/livez") as page:
        assert "host_not_allowed" in await page.content()
        said = await page.evaluate(
            """async (stream) => Promise.all([
              ['/v1/streams', {}],
              [`/v1/streams/${stream}`, {}],
              [`/v1/streams/${stream}/events`, {}],
              [`/v1/streams/${stream}`, {method: 'DELETE'}],
              [`/v1/streams/${stream}/cancel`, {method: 'POST'}],
              ['/', {}],
            ].map(async ([path, init]) => {
              const response = await fetch(path, init);
              return [response.status, (await response.json()).error.code];
            }))""",
            stream,
        )
    assert said == [[403, "host_not_allowed"]] * 6
    assert (await call(port, "GET", f"/v1/streams/{stream}"))[1]["status"] == "running"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_the_own_page_goes_on_working(deceived: Browser, stack: Stack, host: str) -> None:
    async with page_at(deceived, f"http://{host}:{stack.ports[0]}/") as page:
        status = await page.evaluate(
            """async (model) => {
              const body = JSON.stringify({model, messages: [{role: 'user', content: 'x'}]});
              const headers = {'content-type': 'application/json'};
              return (await fetch('/v1/streams', {method: 'POST', headers, body})).status;
            }""",
            MODEL,
        )
    assert status == 201


async def test_scripts_of_a_listed_site_ask_read_and_resume(deceived: Browser, site: int, stack: Stack) -> None:
    """With what a page may send from elsewhere only if it is allowed to: JSON, a cursor, and the stream's address."""
    origin = f"http://{EVIL}:{site}"
    body = {"model": MODEL, "messages": Script("listed-site", chunks=30, rate=30).messages()}
    with running_edge(**stack.settings, allowed_origins=origin) as edge:
        async with page_at(deceived, f"{origin}/") as page:
            said = await page.evaluate(
                """async ([base, body]) => {
                  const headers = { 'Content-Type': 'application/json', 'Idempotency-Key': 'listed-site' };
                  const asked = await fetch(`${base}/v1/streams`, { method: 'POST', headers, body });
                  const events = `${base}${asked.headers.get('Location')}/events`;
                  const whole = await (await fetch(events)).text();
                  const ids = [...whole.matchAll(/^id: (.*)$/gm)].map((match) => match[1]);
                  const rest = await (await fetch(events, { headers: { 'Last-Event-ID': ids[4] } })).text();
                  return [whole, rest, ids.length];
                }""",
                [f"http://127.0.0.1:{edge.port}", json.dumps(body)],
            )
    whole, rest, events = said
    assert events > 20
    assert whole.count('"type":"done"') == rest.count('"type":"done"') == 1
    held, resumed = (said_in(text) for text in (whole, rest))
    assert held.endswith(resumed)
    assert 0 < len(resumed) < len(held)


def said_in(raw: str) -> str:
    return "".join((item.data or {}).get("delta", "") for item in SseParser().feed(raw.encode()))
