"""The supervisor with real processes: order, readiness, crashes, signals, and what happens when it is killed itself."""

import asyncio
import io
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from services.console.exit_code import ExitCode
from services.console.failure import Failure
from services.local.child import Child
from services.local.forwarder import Forwarder
from services.local.program import Program
from services.local.supervisor import Supervisor
from tests.support.waiting import eventually

__all__ = ()

# Says when it starts and when it is stopped; ready once its file is there.
SOURCE = """
import pathlib, signal, sys, time
name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
with (folder / "log").open("a") as log:
    def say(word):
        log.write(f"{word} {name}\\n"); log.flush(); print(f"{name} {word}", flush=True)
    def stop(*_):
        say("stops"); sys.exit(0)
    signal.signal(signal.SIGTERM, stop)
    say("starts")
    (folder / name).touch()
    while True:
        time.sleep(60)
"""


def program(name: str, folder: Path, source: str = SOURCE, *, stop_s: float = 5.0) -> Program:
    async def is_ready() -> bool:
        return (folder / name).exists()

    return Program(name, (sys.executable, "-c", source, name, str(folder)), dict(os.environ), is_ready, stop_s)


def silent() -> Forwarder:
    return Forwarder(io.StringIO(), "text")


def said(folder: Path) -> list[str]:
    return (folder / "log").read_text().splitlines()


async def nothing() -> None:
    """What to do when all is ready, when there is nothing to do."""


def by_name(supervisor: Supervisor, name: str) -> Child:
    return next(child for child in supervisor.children if child.program.name == name)


async def test_stages_start_in_order_and_stop_in_reverse(tmp_path: Path) -> None:
    stages = [[program("one", tmp_path)], [program("two", tmp_path)], [program("three", tmp_path)]]
    supervisor = Supervisor(stages, silent())

    async def end() -> None:
        assert said(tmp_path) == ["starts one", "starts two", "starts three"]
        supervisor.end()

    assert await supervisor.run(end) is ExitCode.OK
    assert said(tmp_path)[3:] == ["stops three", "stops two", "stops one"]
    assert [child.pid for child in supervisor.children] == [None, None, None]


async def test_a_quiet_child_is_heard_only_if_it_fails(tmp_path: Path) -> None:
    heard = io.StringIO()
    quiet = replace(program("quiet", tmp_path), is_quiet=True)
    supervisor = Supervisor([[quiet], [program("other", tmp_path)]], Forwarder(heard, "text"))

    async def end() -> None:
        supervisor.end()

    assert await supervisor.run(end) is ExitCode.OK
    assert "other starts" in heard.getvalue()
    assert "quiet starts" not in heard.getvalue()

    broken = replace(program("quiet", tmp_path, "print('no room'); raise SystemExit(1)"), is_quiet=True)
    (tmp_path / "quiet").unlink()
    with pytest.raises(Failure, match="quiet did not start"):
        await Supervisor([[broken]], Forwarder(heard, "text")).run(nothing)
    assert "no room" in heard.getvalue()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_stops_everything(tmp_path: Path, number: signal.Signals) -> None:
    supervisor = Supervisor([[program("one", tmp_path), program("two", tmp_path)]], silent())

    async def send() -> None:
        os.kill(os.getpid(), number)

    assert await supervisor.run(send) is ExitCode.OK
    assert sorted(said(tmp_path))[2:] == ["stops one", "stops two"]


async def test_a_signal_while_starting_stops_what_has_started(tmp_path: Path) -> None:
    never = replace(program("two", tmp_path), is_ready=_never)
    supervisor = Supervisor([[program("one", tmp_path)], [never]], silent())
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(supervisor.run(nothing))
        await eventually(lambda: _has(tmp_path, "starts two"))
        os.kill(os.getpid(), signal.SIGTERM)
    assert run.result() is ExitCode.OK
    assert said(tmp_path)[2:] == ["stops two", "stops one"]


async def test_a_crashed_child_is_started_again(tmp_path: Path) -> None:
    output = io.StringIO()
    supervisor = Supervisor([[program("one", tmp_path)]], Forwarder(output, "text"))

    async def crash() -> None:
        child = by_name(supervisor, "one")
        pid = child.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: _is(lambda: child.starts == 2 and len(said(tmp_path)) == 2))
        assert child.pid != pid
        supervisor.end()

    assert await supervisor.run(crash) is ExitCode.OK
    assert "one ended with SIGKILL; starting it again in 0." in output.getvalue()


async def test_a_child_that_crashes_too_often_ends_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The waits of a whole minute's crashes would only be waited for.
    monkeypatch.setattr("random.uniform", lambda _low, _high: 0.01)
    doomed = "import pathlib, sys; pathlib.Path(sys.argv[2], sys.argv[1]).touch(); sys.exit(3)"
    output = io.StringIO()
    stages = [[program("good", tmp_path)], [program("bad", tmp_path, doomed)]]
    supervisor = Supervisor(stages, Forwarder(output, "text"))
    # It ends faster than one could see it ready.
    by_name(supervisor, "bad").was_ready = True
    assert await supervisor.run(nothing) is ExitCode.FAILED
    assert by_name(supervisor, "bad").starts == 6
    assert "bad ended with exit code 3 again; that was once too often" in output.getvalue()
    assert said(tmp_path)[-1] == "stops good"


async def test_what_does_not_start_is_named(tmp_path: Path) -> None:
    broken = program("broken", tmp_path, "import sys; print('no such setting'); sys.exit(2)")
    output = io.StringIO()
    supervisor = Supervisor([[program("one", tmp_path)], [broken]], Forwarder(output, "text"))
    with pytest.raises(Failure, match=r"broken did not start \(exit code 2\)"):
        await supervisor.run(nothing)
    assert "broken    │ no such setting" in output.getvalue()
    assert said(tmp_path) == ["starts one", "stops one"]
    assert by_name(supervisor, "broken").starts == 1


async def test_what_is_not_ready_in_time_is_named(tmp_path: Path) -> None:
    never = replace(program("slow", tmp_path), is_ready=_never)
    supervisor = Supervisor([[never]], silent(), start_s=0.5)
    with pytest.raises(Failure, match=r"not ready after 0\.5 s: slow"):
        await supervisor.run(nothing)
    assert supervisor.children[0].pid is None


async def test_a_failing_welcome_stops_everything(tmp_path: Path) -> None:
    async def fail() -> None:
        raise Failure("no answer")

    supervisor = Supervisor([[program("one", tmp_path)]], silent())
    with pytest.raises(Failure, match="no answer"):
        await supervisor.run(fail)
    assert said(tmp_path) == ["starts one", "stops one"]


async def test_what_does_not_stop_is_killed(tmp_path: Path) -> None:
    deaf = SOURCE.replace("signal.signal(signal.SIGTERM, stop)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    output = io.StringIO()
    supervisor = Supervisor([[program("deaf", tmp_path, deaf, stop_s=0.3)]], Forwarder(output, "text"))

    async def end() -> None:
        supervisor.end()

    assert await supervisor.run(end) is ExitCode.OK
    assert "deaf did not stop within 0.3 s and is killed" in output.getvalue()


async def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    deaf = SOURCE.replace("signal.signal(signal.SIGTERM, stop)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    supervisor = Supervisor([[program("deaf", tmp_path, deaf, stop_s=60)]], silent())

    async def end_twice() -> None:
        supervisor.end()
        supervisor.end()

    async with asyncio.timeout(10):
        assert await supervisor.run(end_twice) is ExitCode.OK


async def test_cancelled_it_leaves_nothing_running(tmp_path: Path) -> None:
    supervisor = Supervisor([[program("one", tmp_path)]], silent())
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(supervisor.run(nothing))
        await eventually(lambda: _has(tmp_path, "starts one"))
        pid = supervisor.children[0].pid
        assert pid is not None
        run.cancel()
    await eventually(lambda: _is(lambda: not _runs(pid)))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent has died")
async def test_children_of_a_killed_supervisor_end(tmp_path: Path) -> None:
    source = (
        "import subprocess, sys\nfrom services.local.leash import leashed\n"
        "child = subprocess.Popen(leashed([sys.executable, '-c', 'import time; time.sleep(600)']))\n"
        "print(child.pid, flush=True)\nchild.wait()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", source, stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    # Once it is the program itself, the leash is on.
    await eventually(lambda: _is(lambda: b"leash.py" not in command_line(pid)))
    parent.kill()
    await parent.wait()
    await eventually(lambda: _is(lambda: not _runs(pid)))


def command_line(pid: int) -> bytes:
    # Empty for a moment within exec.
    return Path(f"/proc/{pid}/cmdline").read_bytes() or b"leash.py"


async def _never() -> bool:
    return False


async def _is(condition: Callable[[], bool]) -> bool:
    return condition()


def _has(folder: Path, line: str) -> Awaitable[bool]:
    return _is(lambda: (folder / "log").exists() and line in said(folder))


def _runs(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
