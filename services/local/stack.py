"""The plan of `tailrace up`, made before anything is started."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from services.console.failure import Failure
from services.console.invocation import command_line
from services.local import model, redis
from services.local.configuration import child_environment, names_model, with_local_provider
from services.local.folder import Folder
from services.local.port import LOOPBACK, free_port, is_free
from services.local.program import Program, tailrace_command
from services.local.readiness import is_ok
from shared.errors import StoreDenied
from shared.settings.settings import Settings

__all__ = ("LocalRedis", "Options", "Stack", "check_ports", "choose_redis", "plan", "without_password")

# Together less than the 5 s that Ctrl-C may take, even if every stage has to be killed.
_EDGE_STOP_S: Final = 2.0
_WORKER_STOP_S: Final = 1.2
_MODEL_STOP_S: Final = 0.8
_PASSWORD_HINT: Final = "is the password in the address? TAILRACE_REDIS_URL=redis://:PASSWORD@HOST:PORT/0"
_NO_PROVIDER: Final = "no provider is configured: name one in tailrace.toml, or leave out --no-model"


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command line."""

    edges: int = 2
    workers: int = 1
    port: int = 8000
    model: bool = True
    folder: Path = field(default_factory=lambda: Path(".tailrace"))

    @property
    def edge_ports(self) -> range:
        return range(self.port, self.port + self.edges)


@dataclass(frozen=True, slots=True)
class LocalRedis:
    """The Redis to use; with a `server` it is ours to start."""

    url: str = field(repr=False)
    name: str
    server: redis.Server | None = None


@dataclass(frozen=True, slots=True)
class Stack:
    """The stages in the order of their start, and what a person wants to know about them."""

    stages: tuple[tuple[Program, ...], ...] = field(repr=False)
    edge_urls: tuple[str, ...]
    redis: LocalRedis
    model: str | None
    remarks: tuple[str, ...]
    config: Path | None = None

    def note(self) -> dict[str, Any]:
        """Return what `tailrace doctor` needs to find it. The address of a Redis that is ours holds no password."""
        return {
            "pid": os.getpid(),
            "edges": self.edge_urls,
            "redis_url": self.redis.url if self.redis.server else None,
            "config": str(self.config) if self.config else None,
        }


@dataclass(frozen=True, slots=True)
class _Model:
    """The built-in model: on which port, if it runs; whether it becomes the provider; why it does not run."""

    port: int | None = None
    is_provider: bool = False
    remark: str | None = None


def check_ports(options: Options) -> None:
    """Raise `Failure` if an edge could not listen."""
    taken = [port for port in options.edge_ports if not is_free(port)]
    if taken:
        other = options.port + 100
        hint = f"{command_line('up', '--port', str(other))} puts the edges on {other} and up"
        raise Failure(f"port {taken[0]} is taken by another process", hint=hint)


async def choose_redis(settings: Settings) -> LocalRedis:
    """The configured Redis, which must answer; if none is configured, one to be started. Raises `Failure`."""
    if "redis_url" not in settings.model_fields_set:
        server = redis.find_server()
        return LocalRedis(f"redis://{LOOPBACK}:{free_port(redis.PREFERRED_PORT)}/0", str(server), server)
    place = without_password(settings.redis_url)
    trouble = await redis.trouble_at(settings.redis_url)
    if isinstance(trouble, StoreDenied) or (trouble is not None and not trouble.retryable):
        raise Failure(f"Redis at {place} refuses: {trouble.message}", hint=_PASSWORD_HINT)
    if trouble is not None:
        raise Failure(f"no Redis answers at {place}", hint="without TAILRACE_REDIS_URL one is started here")
    return LocalRedis(settings.redis_url, place)


def plan(
    options: Options,
    settings: Settings,
    chosen: LocalRedis,
    folder: Folder,
    environment: Mapping[str, str],
    *,
    log_format: str,
    offered: Sequence[str] = (),
) -> Stack:
    """Put the stages together. Writes the children's configuration file if they need one of their own.

    `offered` are names of models that the providers list where the file has only patterns.
    """
    built_in = _built_in(options, settings)
    config = None
    if built_in.is_provider and built_in.port is not None:
        config = with_local_provider(folder, environment, model_port=built_in.port)
    child = child_environment(settings, environment, redis_url=chosen.url, config=config, log_format=log_format)
    if offered and "offered_models" not in settings.model_fields_set:
        child["TAILRACE_OFFERED_MODELS"] = json.dumps(list(offered))
    return Stack(
        stages=tuple(filter(None, _stages(options, chosen, built_in.port, folder, child))),
        edge_urls=tuple(f"http://{LOOPBACK}:{port}" for port in options.edge_ports),
        redis=chosen,
        model=model.MODEL_NAME if built_in.is_provider else None,
        remarks=(built_in.remark,) if built_in.remark else (),
        config=config,
    )


def without_password(url: str) -> str:
    """A Redis address as it may be shown."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _stages(
    options: Options, chosen: LocalRedis, model_port: int | None, folder: Folder, child: Mapping[str, str]
) -> list[tuple[Program, ...]]:
    return [
        (redis.redis_program(chosen.server, folder, url=chosen.url, environment=child),) if chosen.server else (),
        (_model(model_port, child),) if model_port is not None else (),
        tuple(_worker(number, child) for number in range(1, options.workers + 1)),
        tuple(_edge(port, child) for port in options.edge_ports),
    ]


def _built_in(options: Options, settings: Settings) -> _Model:
    theirs = bool(settings.providers)
    if theirs and not names_model(settings, model.PREFERRED_PORT):
        return _Model()
    if not options.model:
        return _Model(remark=None if theirs else _NO_PROVIDER)
    try:
        model.find_weights()
    except Failure as missing:
        return _Model(remark=f"{missing.message}; {missing.hint}")
    if theirs:
        # Their file names this very port; whoever has it already is the model they mean.
        return _Model(model.PREFERRED_PORT if is_free(model.PREFERRED_PORT) else None)
    return _Model(free_port(model.PREFERRED_PORT), is_provider=True)


def _model(port: int, environment: Mapping[str, str]) -> Program:
    command = tailrace_command("model", "--host", LOOPBACK, "--port", str(port))
    url = f"http://{LOOPBACK}:{port}/v1/models"
    return Program("model", command, environment, lambda: is_ok(url), _MODEL_STOP_S)


def _worker(number: int, environment: Mapping[str, str]) -> Program:
    return Program(f"worker-{number}", tailrace_command("worker"), environment, None, _WORKER_STOP_S)


def _edge(port: int, environment: Mapping[str, str]) -> Program:
    command = tailrace_command("edge", "--host", LOOPBACK, "--port", str(port))
    url = f"http://{LOOPBACK}:{port}/readyz"
    return Program(f"edge-{port}", command, environment, lambda: is_ok(url), _EDGE_STOP_S)
