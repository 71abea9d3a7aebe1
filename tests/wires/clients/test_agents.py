"""Frameworks of other people run their own loops with a tool, against us and a scripted model."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

import pytest

from tests.conftest import missing, own_keyspace, remove_keys
from tests.support.agent import ARGUMENTS
from tests.support.script import Script
from tests.support.stack import MODEL, running_stack
from tests.wires.clients.running import ClientMissing, Program

__all__ = ()

WITHIN_S = 150


class Loop(NamedTuple):
    """A framework, the API it asks, and whether it has its answers streamed."""

    framework: str
    api: str
    streams: bool

    def __str__(self) -> str:
        return f"{self.framework}: {self.api}, {'streamed' if self.streams else 'whole'}"


PROGRAMS: Final[Mapping[str, Mapping[str, Any]]] = {
    "LiteLLM": {"run": "python", "program": "agents/on_litellm.py"},
    "LangChain": {"run": "python", "program": "agents/on_langchain.py"},
    "Pydantic AI": {"run": "python", "program": "agents/on_pydantic.py"},
    "instructor": {"run": "apart", "program": "agents/on_instructor.py"},
    "AI SDK": {"run": "node24", "program": "agents/on_ai_sdk.mjs"},
}
# The Responses API is what the last two ask unless they are told otherwise.
ON_RESPONSES: Final = ("LangChain", "Pydantic AI", "AI SDK")
ASKED: Final = [*((name, "chat") for name in PROGRAMS), *((name, "responses") for name in ON_RESPONSES)]
LOOPS: Final = [Loop(framework, api, streams) for framework, api in ASKED for streams in (False, True)]


@pytest.fixture(scope="module")
def looped(redis_url: str) -> Iterator[Mapping[Loop, Mapping[str, Any]]]:
    """What each framework answered, all of them asked side by side."""
    keyspace = own_keyspace()
    with (
        running_stack(redis_url=redis_url, prefix=keyspace.prefix, edges=1) as broker,
        TemporaryDirectory(prefix="tailrace-agents-") as folder,
    ):
        try:
            yield asyncio.run(_run_all(broker.edges[0].port, Path(folder)))
        except ClientMissing as reason:
            missing(str(reason))
    asyncio.run(remove_keys(redis_url, keyspace))


async def _run_all(port: int, folder: Path) -> dict[Loop, Mapping[str, Any]]:
    async with AsyncExitStack() as stack:
        programs = {name: Program(name, program, folder) for name, program in PROGRAMS.items()}
        for program in programs.values():
            stack.push_async_callback(program.aclose)
        playing = [programs[loop.framework].play(_case(loop, port), within_s=WITHIN_S) for loop in LOOPS]
        return dict(zip(LOOPS, await asyncio.gather(*playing), strict=True))


def _case(loop: Loop, port: int) -> dict[str, Any]:
    question = Script(str(loop), kinds="agent").prompt()
    asked = {"url": f"http://127.0.0.1:{port}", "question": question, "model": MODEL}
    return asked | {"case": str(loop), "api": loop.api, "streams": loop.streams}


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("loop", LOOPS, ids=str)
def test_an_agent_uses_its_tool_and_answers(loop: Loop, looped: Mapping[Loop, Mapping[str, Any]]) -> None:
    result = looped[loop]
    assert result.get("error") is None, result
    assert result["calls"] == [{"name": "add", "arguments": ARGUMENTS}]
    assert result["text"] == "It is 42."
