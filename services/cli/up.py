"""`tailrace up`: Redis, the model, workers and edges on this machine, as one command."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Final

from services.cli.announcement import Offer, announce
from services.cli.checks.providers import ProviderAnswer, ask_providers, is_name
from services.console.exit_code import ExitCode
from services.console.failure import Failure
from services.console.terminal import error_console
from services.local.configuration import is_model
from services.local.folder import Folder
from services.local.forwarder import Forwarder
from services.local.model import PREFERRED_PORT
from services.local.stack import Options, Stack, check_ports, choose_redis, plan
from services.local.supervisor import Supervisor
from shared.settings.providers import ProviderSettings
from shared.settings.settings import Settings
from tailrace.stream_reader import Ending, StreamReader

__all__ = ("up",)

_FIRST_ANSWER_S: Final = 60.0
_SEE_LOGS: Final = "what the worker said is above"


async def up(options: Options) -> ExitCode:
    """Start everything, say where it is, stay until Ctrl-C. Raises `TailraceError` with what stands in the way."""
    settings = Settings.load()
    output = _forwarder()
    check_ports(options)
    folder = Folder(options.folder)
    try:
        with _terminable():
            await folder.acquire()
            stack, offer = await _prepare(options, settings, folder, output)
        return await Supervisor(stack.stages, output).run(lambda: _welcome(stack, offer, output))
    except asyncio.CancelledError:
        return ExitCode.OK  # stopped before anything was started
    finally:
        folder.release()


async def _prepare(options: Options, settings: Settings, folder: Folder, output: Forwarder) -> tuple[Stack, Offer]:
    """Look at everything that could stand in the way, and plan the processes."""
    chosen = await choose_redis(settings)
    # The built-in model is not there yet: it is ours to start.
    others = [provider for provider in settings.providers if not is_model(provider, PREFERRED_PORT)]
    answers = await ask_providers(others, os.environ)
    _refuse_if_none_is_left(settings, answers)
    for answer in answers:
        _tell(answer, output)
    offered = [model for answer in answers for model in answer.models]
    stack = plan(options, settings, chosen, folder, os.environ, log_format=output.style, offered=offered)
    for remark in stack.remarks:
        output.line("up", remark)
    folder.note(stack.note())
    return stack, _offer(settings, stack, offered)


def _tell(answer: ProviderAnswer, output: Forwarder) -> None:
    finding = answer.finding
    if finding.status != "ok":
        output.line("up", f"{finding.check}: {finding.detail}; {finding.fix}")
    elif answer.has_only_patterns:
        patterns = ", ".join(answer.settings.models)
        output.line("up", f"{finding.check} serves {patterns} and lists no names: ask for one with --model")


def _refuse_if_none_is_left(settings: Settings, answers: Sequence[ProviderAnswer]) -> None:
    """One provider in trouble is a remark, for it may come back; a key that is missing will not come by itself."""
    keyless = [answer.finding for answer in answers if not _has_key(answer.settings)]
    if keyless and len(keyless) == len(settings.providers):
        faults = "; ".join(f"{finding.check}: {finding.detail}" for finding in keyless)
        raise Failure(f"nobody can be asked: {faults}", hint=keyless[0].fix)


def _has_key(provider: ProviderSettings) -> bool:
    return provider.api_key_env is None or bool(provider.api_key(os.environ))


def _offer(settings: Settings, stack: Stack, offered: Sequence[str]) -> Offer:
    served = [model for provider in settings.providers for model in provider.models]
    own = [stack.model] if stack.model else []
    names = dict.fromkeys([*own, *filter(is_name, served), *offered])
    return Offer(tuple(names), tuple(dict.fromkeys(model for model in served if not is_name(model))))


async def _welcome(stack: Stack, offer: Offer, output: Forwarder) -> None:
    if stack.model:
        output.line("up", "warming up the model")
        await _first_answer(stack.edge_urls, stack.model)
    announce(stack, offer)


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


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM cancels this task, as Ctrl-C does by itself, until the supervisor listens."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    if task is None:
        raise RuntimeError("not in a task")
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def _forwarder() -> Forwarder:
    if not sys.stderr.isatty():
        return Forwarder(sys.stderr, "json")
    return Forwarder(sys.stderr, "text", colour=not error_console().no_color)
