"""A page of Chromium as a client: `python -m tests.wires.clients.chromium PROGRAM`, cases in and results out as lines.

A `.js` file is a function of a case, with `Message` at hand. Anything else is a module that exports `run`, and is
bundled with its packages first.
"""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser, Page, Route, async_playwright

from tests.wires.clients.running import CLIENTS, node24

__all__ = ("FLAGS", "blank", "bundled")

PROGRAMS: Final = Path(__file__).parent / "programs"
WITHIN_S: Final = 40
FLAGS: Final = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    # The pages are put in place of what a server would say, and so are from nowhere; sockets to here would be refused.
    "--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets",
)


def bundled(program: Path, *, form: str = "iife") -> str:
    """A program with all its packages, as one script that defines `program`, or as a module."""
    command = [str(node24()), "node_modules/esbuild-wasm/bin/esbuild", str(program), "--bundle", f"--format={form}"]
    command += ["--global-name=program"] if form == "iife" else []
    command += ["--jsx=automatic", '--define:process.env.NODE_ENV="production"']
    environment = os.environ | {"NODE_PATH": str(CLIENTS / "node24" / "node_modules")}
    place = CLIENTS / "node24"
    return subprocess.run(command, cwd=place, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout


async def blank(route: Route) -> None:
    await route.fulfill(status=200, content_type="text/html", body="<!doctype html><title>client</title><div id=root>")


class Tabs:
    """The pages of one program."""

    def __init__(self, browser: Browser, scripts: list[str], call: str) -> None:
        self._browser = browser
        self._scripts = scripts
        self._call = call

    async def play(self, case: dict[str, Any]) -> None:
        context = await self._browser.new_context()
        try:
            async with asyncio.timeout(WITHIN_S):
                result = await self._result(await context.new_page(), case)
        except Exception as error:  # noqa: BLE001 - whatever went wrong is the result
            result = {"error": type(error).__name__, "notes": {"message": str(error)[:500]}}
        sys.stdout.write(json.dumps({"case": case["case"], **result}) + "\n")
        sys.stdout.flush()
        await context.close()

    async def _result(self, page: Page, case: dict[str, Any]) -> dict[str, Any]:
        # The page itself is not the edge's, so that its loading takes none of the connections that are cut.
        await page.route(f"{case['url']}/", blank)
        await page.route("**/favicon.ico", blank)
        await page.goto(f"{case['url']}/")
        for script in self._scripts:
            await page.add_script_tag(content=script)
        result: dict[str, Any] = await page.evaluate(self._call, case)
        return result


def prepared(program: Path) -> tuple[list[str], str]:
    """What a page loads, and the function of a case that is called there."""
    if program.suffix != ".js":
        return [bundled(program)], "asked => program.run(asked)"
    message = (PROGRAMS / "message.mjs").read_text("utf-8")
    return [message.replace("export class", "class")], program.read_text("utf-8")


async def main(scripts: list[str], call: str) -> None:
    """Play the cases that come in, all at once."""
    found = os.environ.get("TAILRACE_TEST_CHROMIUM") or shutil.which("chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        tabs, playing = Tabs(browser, scripts, call), set[asyncio.Task[None]]()
        while line := await asyncio.to_thread(sys.stdin.readline):
            playing.add(asyncio.create_task(tabs.play(json.loads(line))))
        await asyncio.gather(*playing)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main(*prepared(PROGRAMS / sys.argv[1])))
