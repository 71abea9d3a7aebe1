"""TLS to Redis, with an authority made by openssl: whom a certificate was made out to is checked, in every form."""

import logging
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from shared.errors import InvalidConfiguration, StoreUnavailable
from shared.store.redis.access.tls import is_unverified, tls_options
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from tests.conftest import missing, own_keyspace
from tests.support.certificates import Authority, OpensslMissing
from tests.support.redis_server import RedisServer, ServerMissing, free_port, running_redis, server_binary
from tests.support.streams import begin, log, write
from tests.support.waiting import eventually

__all__ = ()

GOOD = "DNS:localhost,IP:127.0.0.1"
ELSEWHERE = "DNS:elsewhere.example"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    try:
        return Authority.found(tmp_path_factory.mktemp("authority"))
    except OpensslMissing as reason:
        missing(str(reason))


def tls_arguments(authority: Authority, names: str) -> list[str]:
    certificate, key = authority.certify(names.partition(":")[2].partition(",")[0], names=names)
    return [
        *("--tls-cert-file", str(certificate), "--tls-key-file", str(key)),
        *("--tls-ca-cert-file", str(authority.certificate), "--tls-auth-clients", "no"),
    ]


@contextmanager
def encrypted(authority: Authority, names: str, *args: str) -> Iterator[tuple[RedisServer, int]]:
    """A server and its port for TLS."""
    port = free_port()
    try:
        server = running_redis("redis7", args=("--tls-port", str(port), *tls_arguments(authority, names), *args))
    except ServerMissing as reason:
        missing(str(reason))
    with server:
        yield server, port


@asynccontextmanager
async def store_at(url: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(open_client(url, timeout_s=2), own_keyspace())
    try:
        yield store
    finally:
        await store.aclose()


async def assert_works(url: str) -> None:
    """Through the pool, both pipes and the tail."""
    async with store_at(url) as store:
        stream_id = await begin(store)
        await write(store, stream_id, "over TLS")
        tailer = store.tailer()
        position = (await log(store, stream_id))[0].position
        assert await tailer.read({stream_id: position}, count=10, block_ms=None)
        await tailer.aclose()


async def assert_refused(url: str, why: str) -> None:
    async with store_at(url) as store:
        with pytest.raises(StoreUnavailable, match=why):
            await store.ping()
        with pytest.raises(StoreUnavailable):
            await begin(store)


async def test_a_server_that_is_who_it_should_be(authority: Authority) -> None:
    with encrypted(authority, GOOD) as (_, port):
        await assert_works(f"rediss://localhost:{port}/0?ssl_ca_certs={authority.certificate}")
        await assert_works(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={authority.certificate}")


async def test_a_certificate_made_out_to_somebody_else_is_refused(authority: Authority) -> None:
    with encrypted(authority, ELSEWHERE) as (_, port):
        url = f"rediss://localhost:{port}/0?ssl_ca_certs={authority.certificate}"
        await assert_refused(url, "certificate verify failed")
        await assert_works(f"{url}&ssl_check_hostname=no")


async def test_an_unknown_authority_is_refused(authority: Authority) -> None:
    with encrypted(authority, GOOD) as (_, port):
        await assert_refused(f"rediss://localhost:{port}/0", "certificate verify failed")


async def test_no_verification_is_warned_about(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    with encrypted(authority, ELSEWHERE) as (_, port), caplog.at_level(logging.WARNING):
        await assert_works(f"rediss://localhost:{port}/0?ssl_cert_reqs=none")
    assert "without a check of who it is" in caplog.text


@contextmanager
def sentinel_over_tls(authority: Authority, folder: Path, names: str, master_port: int) -> Iterator[int]:
    """A Sentinel that speaks TLS and nothing else, to its master as well. Yields its port."""
    port, arguments = free_port(), tls_arguments(authority, names)
    options = "\n".join(f"{name[2:]} {value}" for name, value in zip(arguments[::2], arguments[1::2], strict=True))
    (folder / "sentinel.conf").write_text(
        f"port 0\ntls-port {port}\ntls-replication yes\nbind 127.0.0.1\ndir {folder}\nlogfile sentinel.log\n{options}\n"
        f"sentinel monitor main 127.0.0.1 {master_port} 1\n"
    )
    command = [str(server_binary("redis7")), str(folder / "sentinel.conf"), "--sentinel"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("names", [GOOD, ELSEWHERE])
async def test_a_master_found_through_sentinels(authority: Authority, tmp_path: Path, names: str) -> None:
    with (
        encrypted(authority, GOOD) as (_, master_port),
        sentinel_over_tls(authority, tmp_path, names, master_port) as port,
    ):
        url = f"rediss+sentinel://127.0.0.1:{port}/main?ssl_ca_certs={authority.certificate}"

        async def answers() -> bool:
            sentinel = Redis(port=port, ssl=True, ssl_cert_reqs="none")
            try:
                return bool(await sentinel.ping())
            except (OSError, ConnectionError, Exception):  # noqa: BLE001 whatever it is, it is not there yet
                return False
            finally:
                await sentinel.aclose()

        await eventually(answers, within_s=10, every_s=0.1)
        if names == GOOD:
            await assert_works(url)
        else:
            await assert_refused(url, "no Sentinel names a master")


@pytest.mark.parametrize("names", [GOOD, ELSEWHERE])
async def test_a_cluster(authority: Authority, names: str) -> None:
    bus = str(free_port())
    cluster = ("--cluster-enabled", "yes", "--tls-cluster", "yes", "--cluster-port", bus)
    with encrypted(authority, names, *cluster) as (server, port):
        plain = Redis(port=server.port)
        await plain.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)  # type: ignore[no-untyped-call]

        async def is_whole() -> bool:
            return b"cluster_state:ok" in await plain.execute_command("CLUSTER", "INFO")  # type: ignore[no-untyped-call]

        await eventually(is_whole, within_s=10, every_s=0.1)
        await plain.aclose()
        url = f"rediss+cluster://127.0.0.1:{port}?ssl_ca_certs={authority.certificate}"
        if names == GOOD:
            await assert_works(url)
        else:
            await assert_refused(url, "no node of the cluster answers")


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("redis://h", {}),
        ("rediss://h", {"ssl_cert_reqs": "required", "ssl_check_hostname": True}),
        ("rediss+cluster://h?ssl_cert_reqs=none", {"ssl_cert_reqs": "none", "ssl_check_hostname": False}),
        (
            "rediss+sentinel://h/m?ssl_ca_certs=/ca&ssl_certfile=/c&ssl_keyfile=/k&ssl_check_hostname=no",
            {
                **{"ssl_cert_reqs": "required", "ssl_check_hostname": False},
                **{"ssl_ca_certs": "/ca", "ssl_certfile": "/c", "ssl_keyfile": "/k"},
            },
        ),
    ],
)
def test_options(url: str, found: dict[str, object]) -> None:
    assert tls_options(url) == found
    assert is_unverified(url) == (found.get("ssl_check_hostname") is False)


@pytest.mark.parametrize("query", ["ssl_cert_reqs=perhaps", "ssl_check_hostname=perhaps"])
def test_options_that_are_none(query: str) -> None:
    with pytest.raises(InvalidConfiguration):
        open_client(f"rediss://h?{query}")
