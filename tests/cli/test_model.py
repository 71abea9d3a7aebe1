"""The built-in model as its own process: an OpenAI-compatible answer, streamed."""

import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from services.console.failure import Failure
from services.local.model import find_weights
from services.local.port import free_port
from tests.cli.command import Command, running, say
from tests.conftest import missing

__all__ = ()

# Two cores may have much else to do.
pytestmark = [pytest.mark.model, pytest.mark.timeout(180)]


@pytest.fixture
async def model(tmp_path: Path) -> AsyncIterator[tuple[str, Command]]:
    try:
        find_weights()
    except Failure as reason:
        missing(reason.message)
    port = free_port()
    async with running("model", "--port", str(port), cwd=tmp_path) as command:
        await command.until("answers at")
        yield f"http://127.0.0.1:{port}", command


async def test_it_streams_an_answer_and_stops_cleanly(model: tuple[str, Command]) -> None:
    url, command = model
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{url}/v1/models") as response:
            assert [entry["id"] for entry in (await response.json())["data"]] == ["smollm2"]
        chunks = await asked(session, url, max_tokens=5)
        for path in ("/", "/slots"):
            async with session.get(f"{url}{path}") as response:
                assert response.status != 200, "only the API is served"
    deltas = [choice["delta"].get("content") for chunk in chunks for choice in chunk["choices"]]
    assert "".join(filter(None, deltas)).strip()
    assert {chunk["model"] for chunk in chunks} == {"smollm2"}
    assert chunks[-1]["usage"]["completion_tokens"] == 5
    command.process.send_signal(signal.SIGTERM)
    assert await command.end(within_s=5) == 0


async def asked(session: aiohttp.ClientSession, url: str, **options: Any) -> list[dict[str, Any]]:
    body = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": "Say hello."}],
        "stream": True,
        "stream_options": {"include_usage": True},
        **options,
    }
    async with session.post(f"{url}/v1/chat/completions", json=body) as response:
        assert response.content_type == "text/event-stream"
        data = [line.removeprefix("data: ") for line in (await response.text()).splitlines() if line]
    assert data.pop() == "[DONE]"
    return [json.loads(line) for line in data]


async def test_a_taken_port_is_said(model: tuple[str, Command], tmp_path: Path) -> None:
    url, _ = model
    said = await say("model", "--port", url.rpartition(":")[2], cwd=tmp_path)
    assert said.code == 1
    assert "is taken" in said.err
    assert "tailrace model --port" in said.err
