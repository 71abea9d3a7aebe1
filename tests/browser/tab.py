"""A tab on the chat page, driven as a person would, and everything the browser complained about."""

from collections.abc import Awaitable, Callable
from typing import Self
from urllib.parse import parse_qs, urlsplit

from playwright.async_api import BrowserContext, ConsoleMessage, Error, Page

from tests.support.script import Script
from tests.support.waiting import eventually

__all__ = ("Tab",)

_PATIENCE_S = 30.0
_LAST_ANSWER = "[data-testid=answer]"
# What the browser itself says of a request that failed or was refused; tests that break the network expect it.
_NETWORK = ("Failed to load resource", "net::ERR_")


class Tab:
    """One tab. `complaints` are script errors, refusals of the content policy, dialogs and warnings in the console."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", self._on_console)
        page.on("pageerror", self._on_error)
        page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))

    @classmethod
    async def open(cls, context: BrowserContext, url: str, *, stream: str = "") -> Self:
        """Open the page at an edge or a proxy, empty or following a stream."""
        tab = cls(await context.new_page())
        await tab.page.goto(f"{url}/?stream={stream}" if stream else url)
        return tab

    async def ask(self, prompt: str | Script) -> str:
        """Type a question, send it, and answer the id of its stream."""
        text = prompt.prompt() if isinstance(prompt, Script) else prompt
        await self.page.locator("[data-testid=model] option").first.wait_for(state="attached")
        earlier = self.stream
        await self.page.get_by_test_id("prompt").fill(text)
        await self.page.get_by_test_id("prompt").press("Enter")
        return await self._named(other_than=earlier)

    async def stop(self) -> None:
        await self.page.get_by_test_id("stop").click()

    async def retry(self) -> str:
        """Press Retry and answer the id of the stream that takes the place of the failed one."""
        failed = self.stream
        await self.page.get_by_test_id("retry").click()
        return await self._named(other_than=failed)

    @property
    def stream(self) -> str:
        """The id of the stream that the address names; empty if it names none."""
        return parse_qs(urlsplit(self.page.url).query).get("stream", [""])[0]

    async def text(self, kind: str = "text") -> str:
        """The characters of the last answer's parts of a kind, exactly as they are in the document."""
        return "".join(await self.page.locator(f"{_LAST_ANSWER} [data-kind={kind}] .block").all_text_contents())

    async def state(self) -> str:
        return await self.page.locator("html").get_attribute("data-state") or ""

    async def status(self) -> str:
        return await self.page.get_by_test_id("status").inner_text()

    async def has_text(self, chars: int) -> None:
        """Wait until that much of the answer is there."""

        async def holds() -> bool:
            return len(await self.text()) >= chars

        await self._until(holds, f"{chars} characters")

    async def is_in(self, state: str) -> None:
        """Wait until the page is in a state: live, reconnecting, ended, failed."""

        async def holds() -> bool:
            return await self.state() == state

        await self._until(holds, f"state {state}")

    async def shows(self, words: str) -> None:
        """Wait until the page shows these words somewhere."""
        await self.page.get_by_text(words).first.wait_for(timeout=_PATIENCE_S * 1000)

    async def _named(self, other_than: str = "") -> str:
        async def holds() -> bool:
            return self.stream not in {"", other_than}

        await self._until(holds, "the address names the stream")
        return self.stream

    async def _until(self, holds: Callable[[], Awaitable[bool]], what: str) -> None:
        try:
            await eventually(holds, within_s=_PATIENCE_S, every_s=0.02)
        except TimeoutError:
            has = len(await self.text())
            raise AssertionError(
                f"{what}: not in {_PATIENCE_S:g} s; {await self.state()!r}, {await self.status()!r}, {has} characters"
            ) from None

    def _on_console(self, message: ConsoleMessage) -> None:
        is_network = any(words in message.text for words in _NETWORK)
        if message.type in {"error", "warning"} and not is_network:
            self.complaints.append(f"{message.type}: {message.text}")

    def _on_error(self, error: Error) -> None:
        self.complaints.append(f"script: {error.message}")
