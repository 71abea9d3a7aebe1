"""`tailrace up`: Redis, the model, workers and edges on this machine, as one command."""

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import Final

from services.cli.announcement import announce
from services.client.stream_reader import Ending, StreamReader
from services.console.exit_code import ExitCode
from services.console.failure import Failure
from services.console.terminal import error_console
from services.local.folder import Folder
from services.local.forwarder import Forwarder
from services.local.stack import Options, Stack, check_ports, choose_redis, plan
from services.local.supervisor import Supervisor
from shared.settings.settings import Settings

__all__ = ("up",)

_FIRST_ANSWER_S: Final = 60.0
_SEE_LOGS: Final = "what the worker said is above"


async def up(options: Options) -> ExitCode:
    """Start everything, say where to click, stay until Ctrl-C. Raises `TailraceError` with what stands in the way."""
    settings = Settings.load()
    output = _forwarder()
    check_ports(options)
    folder = Folder(options.folder)
    await folder.acquire()
    try:
        chosen = await choose_redis(settings)
        stack = plan(options, settings, chosen, folder, os.environ, log_format=output.style)
        for remark in stack.remarks:
            output.line("up", remark)
        return await Supervisor(stack.stages, output).run(lambda: _welcome(stack, output))
    finally:
        folder.release()


async def _welcome(stack: Stack, output: Forwarder) -> None:
    if stack.model:
        output.line("up", "asking the model for a first word")
        await _first_answer(stack.edge_urls, stack.model)
    announce(stack)


async def _first_answer(urls: Sequence[str], model: str) -> None:
    """Go the whole way once: edge, Redis, worker, model and back. Raises `Failure` when no word arrives."""
    question = {"model": model, "messages": [{"role": "user", "content": "Say hi."}], "max_tokens": 1}
    try:
        async with asyncio.timeout(_FIRST_ANSWER_S), StreamReader.open(urls) as reader:
            stream_id = await reader.create(question)
            ending = await reader.follow(stream_id, lambda _: None)
            await reader.delete(stream_id)
    except TimeoutError:
        raise Failure(f"the model gave no answer in {_FIRST_ANSWER_S:g} s", hint=_SEE_LOGS) from None
    _check(ending)


def _check(ending: Ending) -> None:
    if ending.event is None or ending.event.type == "done":
        return
    said = ending.event.fields.get("message", ending.event.type)
    raise Failure(f"the first question failed: {said}", hint=_SEE_LOGS)


def _forwarder() -> Forwarder:
    if not sys.stderr.isatty():
        return Forwarder(sys.stderr, "json")
    return Forwarder(sys.stderr, "text", colour=not error_console().no_color)
