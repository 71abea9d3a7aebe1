"""Which Redis the tests share: one that was named, one in a container, one on PATH, the bundled Valkey."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from docker import from_env  # type: ignore[import-untyped]
from docker.errors import DockerException  # type: ignore[import-untyped]
from testcontainers.community.redis import RedisContainer
from testcontainers.core.config import testcontainers_config

from tests.support.redis_server import KINDS, ServerMissing, running_redis

__all__ = ("URL_VARIABLE", "shared_redis")

URL_VARIABLE = "TAILRACE_TEST_REDIS_URL"
_IMAGE = "redis:7-alpine"
_DEFAULT_DAEMON = "unix:///var/run/docker.sock"
_DAEMON_S = 2
_PULL_S = 60


@contextmanager
def shared_redis() -> Iterator[str]:
    """The address of a Redis to test with. Raises `ServerMissing` with all that was tried."""
    with ExitStack() as stack:
        named = os.environ.get(URL_VARIABLE)
        yield named or _from_container(stack) or _from_binary(stack)


def _from_container(stack: ExitStack) -> str | None:
    if not _daemon_answers():
        return None
    # The reaper would be a second image to pull; the stack below stops the container.
    testcontainers_config.ryuk_disabled = True
    # A daemon that cannot get the image is as good as none.
    with suppress(DockerException, OSError):
        container = stack.enter_context(RedisContainer(_IMAGE, docker_client_kw={"timeout": _PULL_S}))
        return f"redis://{container.get_container_host_ip()}:{container.get_exposed_port(6379)}/0"
    return None


def _daemon_answers() -> bool:
    # Asked by hand first: where nobody listens, docker's client leaves its socket to the garbage collector.
    if not _is_listening(os.environ.get("DOCKER_HOST", _DEFAULT_DAEMON)):
        return False
    try:
        client = from_env(timeout=_DAEMON_S)
    except (DockerException, OSError):
        return False
    try:
        return bool(client.ping())
    except (DockerException, OSError):
        return False
    finally:
        client.close()


def _is_listening(host: str) -> bool:
    scheme, _, address = host.partition("://")
    if scheme != "unix":
        return True
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_DAEMON_S)
        return probe.connect_ex(address) == 0


def _from_binary(stack: ExitStack) -> str:
    reasons = []
    for kind in KINDS:
        try:
            return stack.enter_context(running_redis(kind)).url
        except ServerMissing as missing:
            reasons.append(str(missing))
    raise ServerMissing("; ".join(["no Docker daemon", *reasons]))
