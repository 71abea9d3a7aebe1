"""compose.yaml against the real command line, the real settings and the files it mounts."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from shared.settings.settings import CONFIG_VARIABLE, ENVIRONMENT_PREFIX, Settings
from tests.deploy.command_line import parsed
from tests.deploy.dockerfile import Dockerfile
from tests.support.nginx import DEPLOY

__all__ = ()

ROOT = DEPLOY.parent
OURS = ("edge", "model", "worker")
Service = dict[str, Any]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return document


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, Service]:
    found: dict[str, Service] = compose["services"]
    return found


@pytest.fixture(scope="module")
def dockerfile() -> Dockerfile:
    return Dockerfile.read(DEPLOY / "Dockerfile")


@pytest.fixture
def settings(services: dict[str, Service], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of the edges and workers, as they are in their containers."""
    monkeypatch.setenv(CONFIG_VARIABLE, str(DEPLOY / "tailrace.toml"))
    for name, value in (services["worker"]["environment"] | services["edge"]["environment"]).items():
        if name.startswith(ENVIRONMENT_PREFIX):
            monkeypatch.setenv(name, value)
    return Settings.load()


def seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))


def nginx_value(pattern: str, file: str = "nginx.conf") -> str:
    found = re.search(pattern, (DEPLOY / file).read_text())
    assert found is not None, pattern
    return found[1]


# What runs


def test_the_services_are_those_of_the_picture(services: dict[str, Service]) -> None:
    assert set(services) == {"redis", "model", "worker", "edge", "nginx"}
    assert services["worker"]["deploy"]["replicas"] == 2
    assert services["edge"]["deploy"]["replicas"] == 3


@pytest.mark.parametrize("name", OURS)
def test_a_command_line_is_accepted_and_its_image_exists(
    services: dict[str, Service], dockerfile: Dockerfile, name: str
) -> None:
    service = services[name]
    assert service["command"][0] == name
    parsed(service["command"])
    build = service["build"]
    assert (ROOT / build["context"] / build["dockerfile"]).is_file()
    assert build["target"] == name
    assert build["target"] in dockerfile.stages
    # Compose repeats it so that it can be read here; the image alone does the same.
    assert service["command"] == json.loads(dockerfile.last(name, "CMD"))


def test_other_images_have_a_version(services: dict[str, Service]) -> None:
    assert re.fullmatch(r"redis:\d[\w.-]*", services["redis"]["image"])
    found = re.fullmatch(r"nginx:(\d+)\.(\d+)[\w.-]*@sha256:[0-9a-f]{64}", services["nginx"]["image"])
    assert found is not None
    assert (int(found[1]), int(found[2])) >= (1, 30)


# Who finds whom


def test_ports_agree(services: dict[str, Service], settings: Settings) -> None:
    edge_port = parsed(services["edge"]["command"])["port"]
    assert parsed(services["edge"]["command"])["host"] == "0.0.0.0"  # a container's own loopback reaches nobody
    upstreams = re.findall(r"server (\S+):(\d+) resolve", (DEPLOY / "nginx/upstream.conf").read_text())
    assert upstreams == [("edge", str(edge_port))] * 2

    (local,) = settings.providers
    model = urlsplit(local.base_url)
    assert (model.hostname, model.port) == ("model", parsed(services["model"]["command"])["port"])
    assert "smollm2" in local.models

    redis = urlsplit(settings.redis_url)
    command = services["redis"]["command"]
    assert (redis.hostname, str(redis.port)) == ("redis", command[command.index("--port") + 1])

    listening = nginx_value(r"listen (\d+) ", "nginx/listen.conf")
    assert nginx_value(r"listen \[::\]:(\d+) ", "nginx/listen.conf") == listening
    assert services["nginx"]["ports"] == [f"${{PUBLISH:-127.0.0.1:8080}}:{listening}"]
    assert [name for name, service in services.items() if "ports" in service] == ["nginx"]


def test_health_checks_ask_the_right_port(services: dict[str, Service]) -> None:
    for name, service in services.items():
        for url in re.findall(r"http://[^\" ]+", " ".join(service.get("healthcheck", {}).get("test", []))):
            port = urlsplit(url).port
            expected = 8080 if name == "nginx" else parsed(service["command"])["port"]
            assert port == expected


def test_whoever_talks_to_somebody_shares_a_network(services: dict[str, Service], compose: dict[str, Any]) -> None:
    for talker, listener in (
        ("edge", "redis"), ("worker", "redis"), ("worker", "model"), ("nginx", "edge"),
    ):  # fmt: skip
        assert set(services[talker]["networks"]) & set(services[listener]["networks"]), (talker, listener)
    assert not set(services["nginx"]["networks"]) & set(services["redis"]["networks"])
    used = {network for service in services.values() for network in service["networks"]}
    assert used == set(compose["networks"])
    assert compose["networks"]["store"] == {"internal": True}


def test_a_service_waits_for_what_it_needs(services: dict[str, Service], dockerfile: Dockerfile) -> None:
    waits = {name: set(service.get("depends_on", {})) for name, service in services.items()}
    assert waits["nginx"] == {"edge"}
    assert waits["edge"] == {"redis"}
    assert waits["worker"] == {"redis", "model"}
    for service in services.values():
        for other, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in services[other] or dockerfile.last(other, "HEALTHCHECK")


# Files and variables


def test_every_mounted_file_exists_and_is_read_only(services: dict[str, Service], compose: dict[str, Any]) -> None:
    for service in services.values():
        for volume in service.get("volumes", []):
            source, target, *mode = volume.split(":")
            assert target.startswith("/")
            if not source.startswith("."):
                assert source in compose["volumes"]
                continue
            assert (ROOT / source).exists(), source
            assert mode == ["ro"]


def test_mounts_are_where_the_processes_look(services: dict[str, Service], dockerfile: Dockerfile) -> None:
    def targets(name: str) -> dict[str, str]:
        return {volume.split(":")[1]: volume.split(":")[0] for volume in services[name]["volumes"]}

    for name in ("edge", "worker"):
        config = re.search(rf"{CONFIG_VARIABLE}=(\S+)", " ".join(dockerfile.texts(name, "ENV")))
        assert config is not None
        assert targets(name)[config[1]] == "./deploy/tailrace.toml"

    command = services["nginx"]["command"]
    main = command[command.index("-c") + 1]
    assert targets("nginx")[main] == "./deploy/nginx.conf"
    # nginx looks for `include nginx/…` beside its main file.
    assert targets("nginx")[str(Path(main).parent / "nginx")] == "./deploy/nginx"
    assert services["nginx"]["tmpfs"][0].startswith(command[command.index("-p") + 1].rstrip("/"))

    assert targets("redis")[services["redis"]["command"][1]] == "./deploy/redis.conf"
    data = services["redis"]["command"][services["redis"]["command"].index("--dir") + 1]
    assert targets("redis")[data] == "redis-data"


def test_every_variable_is_known(services: dict[str, Service]) -> None:
    keys = set(re.findall(r'api_key_env = "(\w+)"', (DEPLOY / "tailrace.toml").read_text()))
    for name, service in services.items():
        for variable in service.get("environment", {}):
            if variable.startswith(ENVIRONMENT_PREFIX):
                assert variable.removeprefix(ENVIRONMENT_PREFIX).lower() in Settings.model_fields
            else:
                assert (name, variable in keys) == ("worker", True), variable


def test_the_provider_in_the_comment_is_valid_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (DEPLOY / "tailrace.toml").read_text()
    example = "\n".join(line.removeprefix("# ") for line in text[text.index("# [[providers]]") :].splitlines())
    file = tmp_path / "tailrace.toml"
    file.write_text(text + example)
    monkeypatch.setenv(CONFIG_VARIABLE, str(file))
    local, openai = Settings.load().providers
    assert (local.name, openai.name, openai.api_key_env) == ("local", "openai", "OPENAI_API_KEY")


# Endings and limits


def test_nobody_is_killed_while_draining(services: dict[str, Service], settings: Settings) -> None:
    assert seconds(services["edge"]["stop_grace_period"]) > settings.edge_drain_s + 5
    assert seconds(services["worker"]["stop_grace_period"]) > settings.worker_drain_s + 5
    quitting = int(nginx_value(r"worker_shutdown_timeout (\d+)s;"))
    assert seconds(services["nginx"]["stop_grace_period"]) > quitting + 5
    assert services["nginx"]["stop_signal"] == "SIGQUIT"
    assert all("stop_grace_period" in service for service in services.values())


def test_every_service_is_confined_and_comes_back(services: dict[str, Service], dockerfile: Dockerfile) -> None:
    for name, service in services.items():
        assert service["restart"] == "unless-stopped"
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service.get("privileged") is None
        assert service.get("user") or dockerfile.last(name, "USER")
        assert service.get("healthcheck") or dockerfile.last(name, "HEALTHCHECK")


def test_bounds_agree(settings: Settings) -> None:
    assert nginx_value(r"client_max_body_size (\d+)m;") == str(settings.max_body_bytes // 2**20)
    assert int(nginx_value(r"proxy_read_timeout (\d+)s;")) > 3 * settings.edge_heartbeat_s
