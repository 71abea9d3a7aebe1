"""The doctor with healthy and sick patients, each a real server."""

import contextlib
import socket
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from services.cli.checks.redis import eviction, holes, memory, persistence, queue, skew, strain, version, workers
from services.cli.checks.surroundings import is_somebody_elses
from shared.log.keys import Keyspace, new_id
from shared.queue.jobs import JobQueue, QueueState
from shared.queue.workers import WorkerSeen
from shared.settings.settings import Settings
from shared.store.redis.client import open_client
from shared.store.redis.library import Library
from shared.store.state import ByteSums
from tests.cli.command import Said, say
from tests.cli.fake_edge import error, fake_edge
from tests.conftest import missing
from tests.support.provider import scripted_provider
from tests.support.redis_server import KINDS, RedisServer, ServerKind, ServerMissing, free_port, running_redis
from tests.support.rights import RestrictedUser
from tests.support.service import ours
from tests.support.worker import running_worker

__all__ = ()


@pytest.fixture(scope="module", params=KINDS)
def healthy(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    yield from started(request.param, appendonly=True)


@pytest.fixture(scope="module")
def sick() -> Iterator[RedisServer]:
    """It evicts, forgets at each restart, and has less memory than the streams may use."""
    yield from started("redis7", appendonly=False, args=("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru"))


def started(kind: ServerKind, *, appendonly: bool, args: tuple[str, ...] = ()) -> Iterator[RedisServer]:
    try:
        server = running_redis(kind, appendonly=appendonly, args=args)
    except ServerMissing as reason:
        missing(str(reason))
    with server:
        yield server


def table(name: str, base_url: str) -> str:
    return f'[[providers]]\nname = "{name}"\nbase_url = "{base_url}"\nmodels = ["scripted"]\n'


def by_check(said: Said) -> dict[str, dict[str, Any]]:
    return {line["check"]: line for line in said.lines}


async def test_a_healthy_redis_passes(tmp_path: Path, healthy: RedisServer) -> None:
    said = await say("doctor", "--load", cwd=tmp_path, environment=ours(redis_url=healthy.url))
    found = by_check(said)
    assert said.code == 0, said.out
    checks = (
        "configuration",
        "redis",
        "redis version",
        "eviction",
        "persistence",
        "memory",
        "functions",
        "clock",
        "queue",
    )
    assert {name: found[name]["status"] for name in checks} == dict.fromkeys(checks, "ok")
    name = {"redis7": "Redis 7.", "valkey9": "Valkey 9."}[healthy.kind]
    assert found["redis version"]["detail"].startswith(name)
    assert Library.read().name in found["functions"]["detail"]


async def test_a_replica_is_called_one(tmp_path: Path) -> None:
    with running_redis("redis7", args=("--replicaof", "127.0.0.1", str(free_port()))) as replica:
        said = await say("doctor", cwd=tmp_path, environment=ours(redis_url=replica.url))
    found = by_check(said)
    assert said.code != 0
    assert [name for name, line in found.items() if line["status"] == "failed"] == ["redis"]
    assert "a replica answers" in found["redis"]["detail"]
    assert "REPLICAOF NO ONE" in found["redis"]["fix"]


async def test_it_changes_nothing_unasked(tmp_path: Path, sick: RedisServer) -> None:
    first = by_check(await say("doctor", cwd=tmp_path, environment=ours(redis_url=sick.url)))["functions"]
    again = by_check(await say("doctor", cwd=tmp_path, environment=ours(redis_url=sick.url)))["functions"]
    assert first["status"] == again["status"] == "warning"
    assert "tailrace doctor --load" in first["fix"]


async def test_a_sick_redis_is_told_apart(tmp_path: Path, sick: RedisServer) -> None:
    said = await say("doctor", cwd=tmp_path, environment=ours(redis_url=sick.url))
    found = by_check(said)
    assert said.code == 1
    assert found["redis"]["status"] == "ok"
    assert found["eviction"]["status"] == "failed"
    assert "CONFIG SET maxmemory-policy noeviction" in found["eviction"]["fix"]
    assert found["persistence"]["status"] == "failed"
    assert "appendonly yes" in found["persistence"]["fix"]
    assert found["memory"]["status"] == "warning"


async def test_eviction_can_be_allowed(tmp_path: Path, sick: RedisServer) -> None:
    environment = ours(redis_url=sick.url, allow_eviction="true")
    assert by_check(await say("doctor", cwd=tmp_path, environment=environment))["eviction"]["status"] == "warning"


async def test_no_redis_fails_once_and_skips_the_rest(tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"redis://user:canary@127.0.0.1:{nobody.getsockname()[1]}/0"
        said = await say("doctor", cwd=tmp_path, environment=ours(redis_url=url))
    found = by_check(said)
    assert said.code == 1
    assert found["redis"]["status"] == "failed"
    assert [name for name, line in found.items() if line["status"] == "failed"] == ["redis"]
    for name in ("redis version", "eviction", "functions", "clock", "queue"):
        assert name not in found
        assert name in found["redis"]["detail"]
    assert "canary" not in said.out + said.err


async def test_an_edge_that_waits_for_redis_is_no_finding_of_its_own(tmp_path: Path) -> None:
    refusals = [error(503, "store_unavailable", "Away.")]
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        environment = ours(redis_url=f"redis://127.0.0.1:{nobody.getsockname()[1]}/0")
        async with fake_edge([], refusals=refusals) as edge:
            said = await say("doctor", "--url", edge.url, cwd=tmp_path, environment=environment)
    assert [line["check"] for line in said.lines if line["status"] == "failed"] == ["redis"]


async def test_a_queue_elsewhere_is_a_cause_of_its_own(tmp_path: Path, healthy: RedisServer) -> None:
    environment = ours(redis_url=healthy.url, queue_url="redis://127.0.0.1:1/0")
    said = await say("doctor", cwd=tmp_path, environment=environment)
    assert [line["check"] for line in said.lines if line["status"] == "failed"] == ["queue"]


async def test_a_password_that_is_wanted_is_named(tmp_path: Path) -> None:
    try:
        server = running_redis("redis7", args=("--requirepass", "canary"))
    except ServerMissing as reason:
        missing(str(reason))
    async with server:
        found = by_check(await say("doctor", cwd=tmp_path, environment=ours(redis_url=server.url)))
    assert found["redis"]["status"] == "failed"
    assert "Authentication" in found["redis"]["detail"]
    assert "TAILRACE_REDIS_URL=redis://:PASSWORD@" in found["redis"]["fix"]


async def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    said = await say("doctor", cwd=tmp_path, environment=ours(rediss_url="x"))
    assert said.code == 1
    assert "TAILRACE_REDISS_URL" in by_check(said)["configuration"]["detail"]
    assert by_check(said)["configuration"]["fix"] == "did you mean TAILRACE_REDIS_URL?"


@pytest.mark.parametrize(
    ("text", "status", "detail", "fix"),
    [
        ("\nretain = 5\nretian_s = 7\n", "failed", "tailrace.toml:3: retian_s is no setting", "did you mean retain_s?"),
        ("# x\nretain_s = -1\n", "failed", "tailrace.toml:2: retain_s: ", "docs/settings.md"),
        ('retain_s = "\n', "failed", "tailrace.toml is not TOML: ", "quotes"),
        (
            '[[providers]]\nname = "a"\nbase_ulr = "http://x"\n',
            "failed",
            "tailrace.toml:3: base_ulr is no",
            "base_url?",
        ),
        ('[[providers]]\nname = "a"\nmodels = ["m"]\n', "failed", "tailrace.toml:1: base_url: Field required", ""),
        ("prefix = 'x'\n", "warning", "TAILRACE_PREFIX overrules tailrace.toml:1", "unset TAILRACE_PREFIX"),
        (
            '[[providers]]\nname = "a"\nbase_url = "http://127.0.0.1:9/v1"\nmodels = ["m"]\n' * 2,
            "warning",
            "2 providers are called a (tailrace.toml:1, tailrace.toml:5)",
            "name one otherwise",
        ),
    ],
)
async def test_a_fault_in_the_file_is_named_with_its_line(
    tmp_path: Path, text: str, status: str, detail: str, fix: str
) -> None:
    (tmp_path / "tailrace.toml").write_text(text)
    said = await say("doctor", cwd=tmp_path, environment=ours(prefix="y", redis_url="redis://127.0.0.1:1/0"))
    found = [line for line in said.lines if line["check"] == "configuration" and detail in line["detail"]]
    assert [line["status"] for line in found] == [status], said.out
    assert fix in found[0]["fix"]


async def test_nobody_elses_redis_is_given_advice(tmp_path: Path, sick: RedisServer) -> None:
    settings = Settings.model_construct(redis_url=sick.url, redis_timeout_s=5)
    settings.model_fields_set.discard("redis_url")
    found = await is_somebody_elses(settings)
    assert found is not None
    assert (found.status, found.fix) == ("skipped", "")
    assert "left alone" in found.detail
    async with contextlib.aclosing(open_client(sick.url)) as client:
        await Library.read().load(client)
        assert await is_somebody_elses(settings) is None, "it was used before"
        await cast("Awaitable[str]", client.function_delete(Library.read().name))


async def test_providers_are_asked(tmp_path: Path, healthy: RedisServer) -> None:
    async with scripted_provider() as provider:
        here, gone = provider.base_url, "http://127.0.0.1:9/v1"
        tables = [table("good", here), table("gone", gone), table("keyless", here) + 'api_key_env = "NO_SUCH_KEY"\n']
        (tmp_path / "tailrace.toml").write_text("".join(tables))
        said = await say("doctor", cwd=tmp_path, environment=ours(redis_url=healthy.url))
    found = by_check(said)
    assert said.code == 1
    assert found["provider good"]["status"] == "ok"
    assert found["provider gone"]["status"] == "failed"
    assert "NO_SUCH_KEY is not set" in found["provider keyless"]["detail"]
    assert found["provider keyless"]["fix"] == "tailrace.toml:9: export NO_SUCH_KEY=…"


async def test_an_address_without_its_last_part_is_found(tmp_path: Path, healthy: RedisServer) -> None:
    async with scripted_provider() as provider:
        root = provider.base_url.removesuffix("/v1")
        (tmp_path / "tailrace.toml").write_text(table("short", root) + table("lost", f"{provider.base_url}/x"))
        found = by_check(await say("doctor", cwd=tmp_path, environment=ours(redis_url=healthy.url)))
    assert found["provider short"]["status"] == "failed"
    assert found["provider short"]["fix"] == f'tailrace.toml:1: base_url = "{provider.base_url}"'
    assert found["provider lost"]["status"] == "failed"
    assert "status 404" in found["provider lost"]["detail"]


async def test_a_model_that_is_not_listed_is_probably_misspelt(tmp_path: Path, healthy: RedisServer) -> None:
    async with scripted_provider() as provider:
        base = f'[[providers]]\nname = "p"\nbase_url = "{provider.base_url}"\n'
        (tmp_path / "tailrace.toml").write_text(f'{base}models = ["scirpted"]\n')
        found = by_check(await say("doctor", cwd=tmp_path, environment=ours(redis_url=healthy.url)))
    assert found["provider p"]["status"] == "warning"
    assert found["provider p"]["fix"] == "tailrace.toml:1: did you mean scripted?"


@pytest.mark.parametrize(("status", "expected"), [(401, "failed"), (403, "failed"), (404, "ok"), (503, "warning")])
async def test_what_a_provider_says_is_told(tmp_path: Path, healthy: RedisServer, status: int, expected: str) -> None:
    async with scripted_provider() as provider:
        provider.models_status = status
        (tmp_path / "tailrace.toml").write_text(table("p", provider.base_url))
        found = by_check(await say("doctor", cwd=tmp_path, environment=ours(redis_url=healthy.url)))
    assert found["provider p"]["status"] == expected, found


async def test_no_provider_is_a_warning(tmp_path: Path, healthy: RedisServer) -> None:
    found = by_check(await say("doctor", cwd=tmp_path, environment=ours(redis_url=healthy.url)))
    assert found["providers"]["status"] == "warning"


async def test_edges_are_asked(tmp_path: Path, healthy: RedisServer) -> None:
    refusals = [error(503, "draining", "Away.")]
    async with fake_edge([]) as good, fake_edge([], refusals=refusals) as draining:
        gone = "http://127.0.0.1:9"
        urls = ("--url", good.url, "--url", draining.url, "--url", gone)
        said = await say("doctor", *urls, cwd=tmp_path, environment=ours(redis_url=healthy.url))
    found = by_check(said)
    assert said.code == 1
    assert [found[f"edge {url}"]["status"] for url in (good.url, draining.url, gone)] == ["ok", "failed", "failed"]


async def test_a_terminal_gets_a_table(tmp_path: Path, healthy: RedisServer) -> None:
    said = await say("doctor", cwd=tmp_path, environment=ours(redis_url=healthy.url), terminal=True)
    assert "what to do" in said.out
    assert "\x1b[32mok" in said.out


async def test_no_color_is_honoured(tmp_path: Path, healthy: RedisServer) -> None:
    environment = ours(redis_url=healthy.url) | {"NO_COLOR": "1"}
    said = await say("doctor", cwd=tmp_path, environment=environment, terminal=True)
    assert "\x1b[32m" not in said.out


async def test_no_worker_is_a_warning_and_one_is_told(tmp_path: Path, healthy: RedisServer) -> None:
    environment = ours(redis_url=healthy.url, prefix="peopled")
    found = by_check(await say("doctor", cwd=tmp_path, environment=environment))["workers"]
    assert (found["status"], found["detail"]) == ("warning", "none is running")
    assert "tailrace worker" in found["fix"]

    with running_worker(redis_url=healthy.url, prefix="peopled", max_jobs=7):
        found = by_check(await say("doctor", cwd=tmp_path, environment=environment))["workers"]
    assert (found["status"], found["detail"]) == ("ok", "1 running, with 0 streams of at most 7")


async def test_jobs_that_are_stuck_are_counted_and_left(tmp_path: Path, healthy: RedisServer) -> None:
    keys, client = Keyspace("stuck"), open_client(healthy.url)
    stream_id = new_id(buckets=1)
    await JobQueue(client, keys).put(stream_id, attempt=0, tenant="t")
    await client.set(f"arq:in-progress:{stream_id}.0", 1, px=86_400_000)

    found = by_check(await say("doctor", cwd=tmp_path, environment=ours(redis_url=healthy.url, prefix="stuck")))

    assert found["queue"]["status"] == "warning"
    assert "1 jobs wait for a worker, 1 of them are stuck" in found["queue"]["detail"]
    assert "1 streams wait" in found["workers"]["detail"]
    assert await client.pttl(f"arq:in-progress:{stream_id}.0") > 80_000_000
    await client.aclose()


@pytest.mark.parametrize(
    ("state", "status", "said"),
    [
        (QueueState(jobs=0, held=0, stuck=0, wait_ms=0), "ok", "0 jobs"),
        (QueueState(jobs=300, held=10, stuck=0, wait_ms=900), "ok", "300 jobs"),
        (QueueState(jobs=300, held=0, stuck=0, wait_ms=25_000), "warning", "the first for 25 s"),
        (QueueState(jobs=300, held=300, stuck=300, wait_ms=25_000), "warning", "300 of them are stuck"),
    ],
)
def test_queues(state: QueueState, status: str, said: str) -> None:
    found = queue(state, place="here")
    assert found.status == status
    assert said in found.detail


def test_workers_of_two_versions_and_one_that_goes() -> None:
    seen = [WorkerSeen("a", "1.0", 3, 10), WorkerSeen("b", "1.1", 2, 20), WorkerSeen("c", "1.1", 9, 20, draining=True)]
    found = workers(seen, waiting=0)
    assert (found.status, found.detail) == ("ok", "2 running, with 5 streams of at most 30; versions 1.0, 1.1")
    assert workers(seen[2:], waiting=0).status == "warning"


@pytest.mark.parametrize(
    ("info", "status"),
    [
        ({"redis_version": "7.0.0"}, "ok"),
        ({"redis_version": "8.2.1"}, "ok"),
        ({"redis_version": "6.2.14"}, "failed"),
        ({"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "9.1.2"}, "ok"),
        ({"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "7.0.0"}, "failed"),
        ({}, "failed"),
    ],
)
def test_versions(info: dict[str, Any], status: str) -> None:
    assert version(info).status == status


@pytest.mark.parametrize(
    ("info", "status"),
    [
        ({"aof_enabled": 1, "aof_last_write_status": "ok"}, "ok"),
        ({"aof_enabled": 1, "aof_last_write_status": "err"}, "failed"),
        ({"aof_enabled": 0, "connected_slaves": 1}, "warning"),
        ({"aof_enabled": 0}, "failed"),
    ],
)
def test_persistence(info: dict[str, Any], status: str) -> None:
    assert persistence(info).status == status


@pytest.mark.parametrize(("limit", "status"), [(0, "ok"), (99, "warning"), (100, "ok")])
def test_memory(limit: int, status: str) -> None:
    assert memory({"maxmemory": limit}, budget_bytes=100).status == status


@pytest.mark.parametrize(
    ("used", "maxmemory", "held", "tenant", "largest", "words"),
    [
        (100, 0, 700, 0, 40, None),
        (2000, 0, 700, 84, 42, None),
        (860, 1000, 700, 0, 0, "Redis uses"),
        (100, 1000, 730, 0, 0, "are evicted from"),
        (100, 1000, 851, 0, 0, "are being evicted"),
        (100, 0, 700, 86, 0, "1 tenants hold nearly"),
        (100, 0, 700, 0, 43, "the largest stream holds"),
    ],
    ids=["far", "no maxmemory", "maxmemory", "soon", "over the soft mark", "a tenant", "a stream"],
)
def test_a_limit_that_is_near_is_told(
    used: int, maxmemory: int, held: int, tenant: int, largest: int, words: str | None
) -> None:
    settings = Settings.model_construct(
        max_total_bytes=1000 * 2**20, max_tenant_bytes=100 * 2**20, max_stream_bytes=50 * 2**20
    )
    info = {"used_memory": used * 2**20, "maxmemory": maxmemory * 2**20}
    usage = ByteSums(bytes=held * 2**20, largest=largest * 2**20)
    found = strain(info, usage, {"greedy": tenant * 2**20, "modest": 1}, settings=settings)
    assert (found is None) == (words is None)
    if found is not None:
        assert (found.status, (words or "") in found.detail, bool(found.fix)) == ("warning", True, True)


@pytest.mark.parametrize(
    ("offset_s", "status"),
    [(0.2, "ok"), (-0.2, "ok"), (2, "warning"), (-2, "warning"), (31, "failed"), (-31, "failed")],
)
def test_clocks(offset_s: float, status: str) -> None:
    assert skew(offset_s).status == status
    assert ("behind" in skew(offset_s).detail) == (offset_s > 0)


def test_an_unknown_policy_is_no_good_policy() -> None:
    assert eviction({}, is_allowed=False).status == "failed"


@pytest.mark.parametrize(
    ("info", "hole"),
    [
        ({"redis_version": "7.2.4"}, "CVE-2025-49844"),
        ({"redis_version": "8.2.1"}, "CVE-2025-49844"),
        ({"redis_version": "8.4.0"}, "CVE-2026-23479"),
        ({"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "8.1.3"}, "CVE-2025-49844"),
        ({"redis_version": "8.6.3"}, ""),
        ({"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": "9.0.4"}, ""),
    ],
)
def test_known_holes(info: dict[str, Any], hole: str) -> None:
    found = holes([info])
    assert [finding.status for finding in found] == (["warning"] if hole else [])
    assert hole in "".join(finding.detail for finding in found)


@pytest.mark.parametrize(
    ("product", "last", "mended", "hole"),
    [
        ("redis", "7.2.13", "7.2.14", "CVE-2026-23479"),
        ("redis", "7.4.8", "7.4.9", "CVE-2026-23479"),
        ("redis", "8.2.5", "8.2.6", "CVE-2026-23479"),
        ("redis", "8.4.2", "8.4.3", "CVE-2026-23479"),
        ("redis", "8.6.2", "8.6.3", "CVE-2026-23479"),
        ("redis", "7.2.10", "7.2.11", "CVE-2025-49844"),
        ("redis", "7.4.5", "7.4.6", "CVE-2025-49844"),
        ("redis", "8.0.3", "8.0.4", "CVE-2025-49844"),
        ("redis", "8.2.1", "8.2.2", "CVE-2025-49844"),
        ("redis", "7.2.7", "7.2.8", "CVE-2025-21605"),
        ("redis", "7.4.2", "7.4.3", "CVE-2025-21605"),
        ("valkey", "7.2.12", "7.2.13", "CVE-2026-23479"),
        ("valkey", "8.0.7", "8.0.8", "CVE-2026-23479"),
        ("valkey", "8.1.6", "8.1.7", "CVE-2026-23479"),
        ("valkey", "9.0.3", "9.0.4", "CVE-2026-23479"),
        ("valkey", "7.2.10", "7.2.11", "CVE-2025-49844"),
        ("valkey", "8.0.5", "8.0.6", "CVE-2025-49844"),
        ("valkey", "8.1.3", "8.1.4", "CVE-2025-49844"),
        ("valkey", "7.2.8", "7.2.9", "CVE-2025-21605"),
        ("valkey", "8.0.2", "8.0.3", "CVE-2025-21605"),
        ("valkey", "8.1.0", "8.1.1", "CVE-2025-21605"),
    ],
)
def test_a_hole_is_known_until_the_release_that_mends_it(product: str, last: str, mended: str, hole: str) -> None:
    def details(number: str) -> str:
        own = {"server_name": "valkey", "valkey_version": number} if product == "valkey" else {"redis_version": number}
        return "".join(finding.detail for finding in holes([{"redis_version": "7.2.4", **own}]))

    assert hole in details(last)
    assert hole not in details(mended)


async def test_rights_that_are_missing_are_named(tmp_path: Path, healthy: RedisServer) -> None:
    user = RestrictedUser(healthy)
    await user.grant()
    assert "rights" not in by_check(await say("doctor", "--load", cwd=tmp_path, environment=ours(redis_url=user.url)))
    await user.grant(without=("xdel",))
    found = by_check(await say("doctor", cwd=tmp_path, environment=ours(redis_url=user.url)))["rights"]
    assert found["status"] == "failed"
    assert "XDEL" in found["detail"]
