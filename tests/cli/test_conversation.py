"""`ask` and `tail` as processes: what a pipe gets, what a terminal gets, what Ctrl-C does."""

import asyncio
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import running, say
from tests.cli.fake_edge import ID, NONCE, FakeEdge, Fault, error, fake_edge, story
from tests.support.service import ours
from tests.support.waiting import eventually

__all__ = ()

WORDS = ["Water ", "that ", "leaves ", "a ", "mill."]


async def test_a_pipe_gets_the_text_alone(tmp_path: Path) -> None:
    async with fake_edge(story(*WORDS)) as edge:
        asked = await say("ask", "What is a tailrace?", "--url", edge.url, cwd=tmp_path)
        tailed = await say("tail", ID, cwd=tmp_path, environment=ours(url=edge.url))
    assert (asked.code, asked.out) == (0, "Water that leaves a mill.")
    assert (tailed.code, tailed.out) == (0, "Water that leaves a mill.")


async def test_json_lines_are_the_events(tmp_path: Path) -> None:
    async with fake_edge(story(*WORDS)) as edge:
        said = await say("ask", "What is a tailrace?", "--url", edge.url, "-o", "json", cwd=tmp_path)
    assert said.code == 0, said.err
    assert said.lines[0] == {"type": "start", "stream": ID, "model": "smollm2", "created_ms": 1}
    assert said.lines[1] == {"type": "text", "delta": "Water ", "event_id": f"1-1.{NONCE}"}
    assert said.lines[-1] == {"type": "done", "finish_reason": "stop", "event_id": f"1-7.{NONCE}"}
    assert f"tailrace tail {ID}" in said.err


async def test_a_terminal_gets_words(tmp_path: Path) -> None:
    async with fake_edge(story(*WORDS)) as edge:
        said = await say("ask", "What is a tailrace?", "--url", edge.url, cwd=tmp_path, terminal=True)
    assert said.code == 0, said.out
    assert "Water that leaves a mill." in said.out
    assert f"tailrace tail {ID}" in said.out
    assert "done (stop) · 5 tokens · first token " in said.out


async def test_text_in_a_pipe_is_exactly_the_text(tmp_path: Path) -> None:
    text = "tabs\tand\r\n\x1b[31mred\x1b[0m \u2028 🌊 [DONE] data: \x00 [bold]x[/]"
    async with fake_edge(story(text)) as edge:
        said = await say("ask", "?", "--url", edge.url, "-o", "text", cwd=tmp_path)
    assert said.out == text


async def test_a_model_cannot_drive_the_terminal(tmp_path: Path) -> None:
    async with fake_edge(story("\x1b[2J\x1b]0;owned\x07 \x9b31m [bold]x[/] ok")) as edge:
        said = await say("ask", "?", "--url", edge.url, cwd=tmp_path, terminal=True)
    assert "␛[2J␛]0;owned␇ \ufffd31m [bold]x[/] ok" in said.out


async def test_the_request_holds_what_was_asked(tmp_path: Path) -> None:
    async with fake_edge(story("x")) as edge:
        options = ("--model", "gpt-4o", "--system", "Be brief.", "--max-tokens", "7", "--url", edge.url)
        await say("ask", "Why?", *options, cwd=tmp_path)
        await say("ask", "-", "--url", edge.url, cwd=tmp_path, stdin="from a pipe é".encode())
    told, read = edge.created
    assert told == {
        "model": "gpt-4o",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}],
        "max_tokens": 7,
    }
    assert read["model"] == "smollm2", "the first model that is no pattern"
    assert read["messages"] == [{"role": "user", "content": "from a pipe é"}]


async def test_an_empty_question_is_refused(tmp_path: Path) -> None:
    said = await say("ask", "-", "--url", "http://127.0.0.1:9", cwd=tmp_path, stdin=b" \n")
    assert said.code == 1
    assert "the question is empty" in said.err


@pytest.mark.parametrize(
    ("last", "code", "words"),
    [
        (
            {"type": "error", "code": "provider_auth", "message": "Refused.", "retryable": False},
            1,
            "Refused. (provider_auth)",
        ),
        ({"type": "cancelled"}, 1, "cancelled"),
        ({"type": "done", "finish_reason": "length"}, 0, "done (length)"),
    ],
)
async def test_the_exit_code_is_the_ending(tmp_path: Path, last: dict[str, Any], code: int, words: str) -> None:
    async with fake_edge([{"type": "text", "delta": "x"}, last]) as edge:
        said = await say("ask", "?", "--url", edge.url, "-o", "text", cwd=tmp_path)
    assert said.code == code
    assert words in said.err


async def test_ctrl_c_cancels_the_stream(tmp_path: Path) -> None:
    log = story(*WORDS)[:2]
    async with fake_edge(log, never_ends=True) as edge, running("ask", "?", "--url", edge.url, cwd=tmp_path) as command:
        await command.until("that ")
        command.process.send_signal(signal.SIGINT)
        assert await command.end() == 130
    assert edge.cancelled == [ID]
    assert b"cancelled; the partial answer is kept: " in command.err
    assert b"Traceback" not in command.err


async def test_ctrl_c_leaves_a_tailed_stream_alone(tmp_path: Path) -> None:
    log = story(*WORDS)[:2]
    async with fake_edge(log, never_ends=True) as edge, running("tail", ID, "--url", edge.url, cwd=tmp_path) as command:
        await command.until("that ")
        command.process.send_signal(signal.SIGINT)
        assert await command.end() == 130
    assert edge.cancelled == []
    assert b"Traceback" not in command.err
    assert f"tail {ID} --after 1-2.{NONCE} --url {edge.url}".encode() in command.err


def reads_standard_input(pid: int) -> bool:
    """Whether a process waits for its standard input now, as the kernel sees it: in `read` of descriptor 0."""
    call = Path(f"/proc/{pid}/syscall").read_text().split()
    return len(call) > 1 and call[1] == "0x0" and "pipe_read" in Path(f"/proc/{pid}/wchan").read_text()


async def test_ctrl_c_ends_a_question_that_is_being_typed(tmp_path: Path) -> None:
    async with running("ask", "-", cwd=tmp_path, keep_open=True) as command:

        async def is_read() -> bool:
            return reads_standard_input(command.process.pid)

        await eventually(is_read, within_s=30)
        command.process.send_signal(signal.SIGINT)
        assert await command.end(within_s=10) == 130
    assert b"Traceback" not in command.err


async def test_the_edge_can_be_named_by_a_variable(tmp_path: Path) -> None:
    async with fake_edge(story(*WORDS)) as edge:
        said = await say("ask", "?", cwd=tmp_path, environment=ours(url=f"http://127.0.0.1:9 {edge.url}"))
    assert said.out == "Water that leaves a mill."


async def test_a_terminal_shows_that_it_waits(tmp_path: Path) -> None:
    up = fake_edge([], never_ends=True)
    async with up as edge, running("ask", "?", "--url", edge.url, cwd=tmp_path, terminal=True) as command:
        await command.until("waiting for the model… 1 s")


@pytest.mark.parametrize(("workers", "is_said"), [({"count": 0}, True), ({"count": 1}, False), (None, False)])
async def test_nobody_who_could_answer_is_said_after_two_seconds(
    tmp_path: Path, workers: dict[str, int] | None, *, is_said: bool
) -> None:
    up = fake_edge([], never_ends=True, workers=workers)
    async with up as edge, running("ask", "?", "--url", edge.url, cwd=tmp_path) as command:
        if is_said:
            await command.until("no worker is running", within_s=6)
            return
        await eventually(lambda: was_asked(edge), within_s=6)
        await asyncio.sleep(0.3)
        assert b"no worker" not in command.err


async def was_asked(edge: FakeEdge) -> bool:
    return edge.stats > 0


async def test_tail_goes_on_after_a_cursor_on_another_edge(tmp_path: Path) -> None:
    log = story(*WORDS)
    async with fake_edge(log, faults=[Fault(3, "cut")]) as one, fake_edge(log) as other:
        urls = ("--url", one.url, "--url", other.url)
        said = await say("tail", ID, "--after", f"1-1.{NONCE}", *urls, "-o", "text", cwd=tmp_path)
    assert said.code == 0
    assert said.out == "that leaves a mill."
    assert other.cursors == [f"1-3.{NONCE}"]
    assert "trying" in said.err


async def test_at_the_end_of_a_stream_tail_says_so(tmp_path: Path) -> None:
    async with fake_edge(story("x")) as edge:
        said = await say("tail", ID, "--after", f"1-3.{NONCE}", "--url", edge.url, cwd=tmp_path)
    assert (said.code, said.out) == (0, "")
    assert "nothing follows" in said.err


async def test_an_error_is_one_line_and_a_hint(tmp_path: Path) -> None:
    async with fake_edge([]) as edge:
        said = await say("tail", "f" * 32, "--url", edge.url, cwd=tmp_path)
    assert said.code == 1
    assert said.err == (
        "error: There is no such stream.\nhint:  a stream is kept for an hour after its end; ids are 32 hex digits\n"
    )


async def test_a_closed_pipe_ends_it_quietly(tmp_path: Path) -> None:
    async with fake_edge(story(*WORDS * 2000)) as edge, running("ask", "?", "--url", edge.url, cwd=tmp_path) as command:
        await command.until("Water")
        transport = command.process._transport.get_pipe_transport(1)  # type: ignore[attr-defined]
        transport.close()
        assert await command.end() == 0
    assert b"Traceback" not in command.err
    assert edge.cancelled == []


async def test_everything_else_is_told_apart(tmp_path: Path) -> None:
    log: list[dict[str, Any]] = [
        {"type": "reasoning", "delta": "Hm."},
        {"type": "text", "delta": "Old"},
        {"type": "reset", "reason": "new_attempt", "parts": [{"type": "text", "text": "New"}]},
        {"type": "tool_call", "index": 0, "id": "call_1", "name": "weather", "arguments_delta": '{"city":'},
        {"type": "tool_call", "index": 0, "arguments_delta": '"Ulm"}'},
        {"type": "gap", "from": "1-5", "to": "1-9", "reason": "trimmed"},
        {"type": "something_new", "x": 1},
        {"type": "done", "finish_reason": "tool_calls"},
    ]
    async with fake_edge(log) as edge:
        said = await say("ask", "?", "--url", edge.url, "-o", "text", cwd=tmp_path)
        shown = await say("ask", "?", "--url", edge.url, cwd=tmp_path, terminal=True)
    assert said.out == "Old\nNew", "the text alone, and never two answers in one line"
    for err in (said.err, shown.out):
        assert "the answer starts over: new_attempt" in err
        assert "from 1-5 to 1-9 is gone: trimmed" in err
    assert "weather" in said.err
    for part in ("Hm.", "Old", "New", 'weather {"city":"Ulm"}'):
        assert part in re.sub(r"\x1b\[[0-9;]*m", "", shown.out)


@pytest.mark.parametrize(
    "arguments",
    [
        ["ask"],
        ["tail"],
        ["ask", "x", "--max-tokens", "0"],
        ["ask", "x", "-o", "xml"],
        ["ask", "x", "--url", "127.0.0.1:8000"],
        ["ask", "x", "--url", "http://127.0.0.1:x"],
        ["tail", "0b5c"],
        ["tail", ID.upper()],
        ["tail", f"../{ID}"],
        ["tail", ID, "--after", "yesterday"],
        ["doctor", "--url", "ftp://127.0.0.1"],
        ["x"],
    ],
)
async def test_wrong_usage_is_exit_code_2(tmp_path: Path, arguments: list[str]) -> None:
    said = await say(*arguments, cwd=tmp_path)
    assert said.code == 2
    assert "Usage: " in said.err


@pytest.mark.parametrize(
    "refusal", [lambda: error(422, "invalid_body", "max_tokens: too large"), lambda: error(404, "unknown_model", "No.")]
)
async def test_a_refused_question_says_why(tmp_path: Path, refusal: Callable[[], Any]) -> None:
    async with fake_edge([], refusals=[refusal()]) as edge:
        said = await say("ask", "?", "--url", edge.url, cwd=tmp_path)
    assert said.code == 1
    assert said.err.startswith("error: ")
    assert "Traceback" not in said.err
