"""Version N-1 and version N on one Redis, each way round: what one wrote, the other reads, ends and takes over."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.calls import ask, call, cancel, state
from tests.support.previous_release import PREVIOUS, ReleaseMissing, unpacked_release
from tests.support.pulling import key
from tests.support.script import Script, expected
from tests.support.sse_client import NDJSON, SSE, History, follow
from tests.support.waiting import eventually
from tests.versions.conftest import Deploy

__all__ = ()

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

# Which version the edge is of, and which the worker.
PAIRS = [("old", "new"), ("new", "old")]
PAIR = pytest.mark.parametrize(("edge", "worker"), PAIRS, ids=["old edge, new worker", "new edge, old worker"])


def test_the_old_processes_run_the_old_source(deploy: Deploy) -> None:
    """Or all of this would show nothing."""
    asked = [sys.executable, "-c", "import services, shared; print(services.__file__, shared.__file__)"]
    environment = {"PYTHONPATH": str(deploy.old.root), "PATH": "/usr/bin:/bin"}
    said = subprocess.run(asked, env=environment, cwd="/", capture_output=True, check=True, timeout=30).stdout.decode()
    assert [Path(name).is_relative_to(deploy.old.root) for name in said.split()] == [True, True]
    assert deploy.old.edge.get("/openapi.json")[0] == 200


@PAIR
async def test_a_stream_is_created_told_and_resumed(deploy: Deploy, edge: str, worker: str) -> None:
    """Live and, folded by that worker, afterwards; on both edges, on both wires, from any cursor."""
    script = Script(key(), chunks=200, rate=200, kinds="mixed")
    with deploy.worker(worker):
        stream_id = await ask(deploy.version(edge).edge.port, script)
        live = await asyncio.gather(
            *(follow(deploy.ports, stream_id, wires=(SSE, NDJSON), patience=200) for _ in range(6)),
            follow([deploy.version(edge).edge.port], stream_id),
        )
        for history in live:
            assert (history.spoken(), history.resets) == (expected(script), [])
        await folded(deploy, stream_id)
        for cursor in live[-1].ids[:: len(live[-1].ids) // 10 or 1]:
            for port in deploy.ports:
                await resumes(port, stream_id, live[-1], cursor)
    states = [await state(port, stream_id) for port in deploy.ports]
    assert states[0] == states[1]
    assert states[0]["status"] == "done"
    for port in deploy.ports:
        _, listed = await call(port, "GET", "/v1/streams?limit=200")
        assert stream_id in {stream["id"] for stream in listed["streams"]} or port == deploy.new.edge.port
    status, _ = await call(deploy.version(edge).edge.port, "DELETE", f"/v1/streams/{stream_id}")
    assert status == 204
    assert [(await call(port, "GET", f"/v1/streams/{stream_id}"))[0] for port in deploy.ports] == [410, 410]


async def folded(deploy: Deploy, stream_id: str) -> None:
    """Some time, so that the worker has looked at what is over; a version may not know the other's index of it."""
    await asyncio.sleep(2)
    assert [(await state(port, stream_id))["status"] for port in deploy.ports] == ["done", "done"]


async def resumes(port: int, stream_id: str, whole: History, cursor: str) -> None:
    """That the rest after this cursor ends as the whole does, and brings no reset."""
    units = int(cursor.partition("-")[2].partition(".")[0])
    history = History(stream_id, cursor=cursor, units=units, attempt=whole.attempt)
    history.parts = [dict(part) for part in whole.parts]  # so that a call is open; what it says is looked at below
    held = len(history.text())
    await follow([port], stream_id, history=history)
    assert history.resets == []
    assert whole.text().endswith(history.text()[held:])
    assert history.ending == whole.ending


@PAIR
async def test_a_stop_reaches_the_worker(deploy: Deploy, edge: str, worker: str) -> None:
    with deploy.worker(worker):
        stream_id = await ask(deploy.version(edge).edge.port, Script(key(), chunks=2_000, rate=50))
        await has_grown(deploy, stream_id, 50)
        await cancel(deploy.version(edge).edge.port, stream_id)
        for port in deploy.ports:
            history = await follow([port], stream_id, within_s=20)
            assert (history.ending or {})["type"] == "cancelled"
            assert history.units > 50


@pytest.mark.parametrize("policy", ["continue", "restart"])
@pytest.mark.parametrize(("first", "second"), [("old", "new"), ("new", "old")], ids=["old, then new", "new, then old"])
async def test_a_worker_of_the_other_version_takes_over(deploy: Deploy, first: str, second: str, policy: str) -> None:
    """The first is killed half-way; readers of both edges get the whole answer."""
    script = Script(key(), chunks=300, rate=100)
    with deploy.worker(first) as killed:
        stream_id = await ask(deploy.version(first).edge.port, script, on_interruption=policy)
        await has_grown(deploy, stream_id, 300)
        readers = [asyncio.ensure_future(follow([port], stream_id, within_s=60)) for port in deploy.ports]
        await asyncio.sleep(0.3)
        killed.kill()
        with deploy.worker(second):
            histories = await asyncio.gather(*readers)
    for history in histories:
        assert history.spoken() == expected(script)
        assert (history.ending or {})["type"] == "done"
    for port in deploy.ports:
        found = await state(port, stream_id)
        assert (found["status"], found["attempt"]) == ("done", 2)
        assert (await follow([port], stream_id)).spoken() == expected(script)


async def has_grown(deploy: Deploy, stream_id: str, units: int) -> None:
    async def is_long() -> bool:
        position = (await state(deploy.new.edge.port, stream_id))["position"]
        return position is not None and int(position.partition("-")[2].partition(".")[0]) >= units

    await eventually(is_long, within_s=20, every_s=0.05)


@PAIR
async def test_neither_says_that_anything_went_wrong(deploy: Deploy, edge: str, worker: str) -> None:
    with deploy.worker(worker) as process:
        stream_id = await ask(deploy.version(edge).edge.port, Script(key(), chunks=50))
        await follow(deploy.ports, stream_id)
        await asyncio.sleep(3)  # of everything that a worker does besides: folds, sweeps, recounts
        assert "Traceback" not in process.log
        assert "refused an append" not in process.log
    for version in (deploy.old, deploy.new):
        assert "Traceback" not in version.edge.log


# Clones that lack the commit


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), *words], capture_output=True, check=True, timeout=60)


@pytest.fixture
def shallow_clone(tmp_path: Path, previous_release: Path) -> Path:
    """The newest commit of this repository and nothing else."""
    root = Path(__file__).parents[2]
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{root}", str(clone))
    return clone


def test_a_shallow_clone_fetches_the_one_commit(shallow_clone: Path, tmp_path: Path, previous_release: Path) -> None:
    (tmp_path / "old").mkdir()
    found = unpacked_release(tmp_path / "old", root=shallow_clone)
    assert (found / "pyproject.toml").read_bytes() == (previous_release / "pyproject.toml").read_bytes()


def test_a_commit_that_cannot_be_had_is_told(shallow_clone: Path, tmp_path: Path) -> None:
    git(shallow_clone, "remote", "set-url", "origin", str(tmp_path / "nowhere"))
    with pytest.raises(ReleaseMissing, match="git fetch --unshallow"):
        unpacked_release(tmp_path, root=shallow_clone)
    with pytest.raises(ReleaseMissing, match="0123"):
        unpacked_release(tmp_path, root=shallow_clone, commit="0123" * 10)


def test_the_file_names_one_commit() -> None:
    named = PREVIOUS.read_text("ascii")
    assert named.endswith("\n")
    assert len(named.strip()) == 40
