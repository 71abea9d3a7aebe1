"""Is this Redis fit to hold streams? Judged from `INFO`, because managed services refuse `CONFIG GET`."""

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import AuthenticationError

from services.cli.checks.finding import Finding, failed, ok, skipped, warning
from services.local.stack import without_password
from shared.errors import StoreDenied, StoreError, StoreReadOnly
from shared.log.keys import Keyspace
from shared.queue.jobs import JobQueue, QueueState
from shared.queue.workers import Workers, WorkerSeen
from shared.settings.settings import Settings
from shared.store.redis.access.tls import is_unverified
from shared.store.redis.client import open_client
from shared.store.redis.cluster.client import ClusterClient
from shared.store.redis.errors import mapping
from shared.store.redis.library import Library
from shared.store.redis.store import RedisStore
from shared.store.state import ByteSums, evicts
from shared.store.version import Version

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = (
    "check_queue",
    "check_redis",
    "eviction",
    "holes",
    "memory",
    "persistence",
    "queue",
    "skew",
    "strain",
    "version",
    "workers",
)

_NEWER: Final = "install Redis 7.0 or Valkey 7.2, or newer"
_MENDED: Final = "install the newest of its line, or see that your distribution has mended them"
_SKEW_WARNING_S: Final = 1.0
_SKEW_FAILURE_S: Final = 30.0
_ASK_S: Final = 3.0
_LONG_WAIT_S: Final = 10.0
# Of a limit of memory: from here on it is near.
_NEAR_SHARE: Final = 0.85
_PASSWORD_FIX: Final = "put it into the address: TAILRACE_REDIS_URL=redis://:PASSWORD@HOST:PORT/0"
_NEED_REDIS: Final = ("redis version", "eviction", "persistence", "memory", "functions", "clock")
_GRAVITY: Final = {"ok": 0, "skipped": 1, "warning": 2, "failed": 3}

Info = Mapping[str, Any]


async def check_redis(settings: Settings, *, load: bool) -> Sequence[Finding]:
    """Every check of the Redis that holds the streams. With `load` the functions are loaded if they are not there."""
    place = without_password(settings.redis_url)
    client = open_client(settings.redis_url, timeout_s=min(_ASK_S, settings.redis_timeout_s))
    try:
        with mapping():
            info, infos = await client.info(), await _infos(client)
            return [
                *_encryption(settings.redis_url),
                ok("redis", f"answers at {place}{'' if len(infos) == 1 else f'; {len(infos)} masters'}"),
                _worst([version(each) for each in infos]),
                *holes(infos),
                _worst([eviction(each, is_allowed=settings.allow_eviction) for each in infos]),
                _worst([persistence(each) for each in infos]),
                await _memory(client, info, settings),
                await _functions(client, load=load),
                *await _rights(client, settings),
                await _clock(client),
            ]
    except StoreError as error:
        fix = "start it, or set TAILRACE_REDIS_URL; `tailrace up` starts one by itself"
        return [_mute("redis", place, error, fix), *(skipped(name, "needs Redis") for name in _NEED_REDIS)]
    finally:
        await client.aclose()


async def check_queue(settings: Settings) -> Sequence[Finding]:
    """The Redis of the job queue, which may be another one (arq cannot use a cluster); its jobs and its workers."""
    url = settings.queue_url or settings.redis_url
    client, keys = open_client(url, timeout_s=min(_ASK_S, settings.redis_timeout_s)), Keyspace(settings.prefix)
    try:
        with mapping():
            info = await client.info()
            if int(info.get("cluster_enabled", 0)):
                fix = "set TAILRACE_QUEUE_URL to a single Redis"
                return [
                    failed("queue", "is a Redis Cluster, which arq cannot use", fix),
                    skipped("workers", "no queue"),
                ]
            state = await JobQueue(client, keys).look()
            seen = await Workers(client, keys).seen()
    except StoreError as error:
        fix = "start it, or set TAILRACE_QUEUE_URL (without it the queue is on TAILRACE_REDIS_URL)"
        return [_mute("queue", without_password(url), error, fix), skipped("workers", "needs the queue")]
    finally:
        await client.aclose()
    shared = "shares the Redis of the streams" if settings.streams_and_queue_share_redis else "answers"
    return [queue(state, place=f"{shared} at {without_password(url)}"), workers(seen, waiting=state.jobs)]


def queue(state: QueueState, *, place: str) -> Finding:
    """Jobs that wait are no fault while workers are busy; those that are stuck are."""
    detail = f"{place}; {state.jobs} jobs wait for a worker"
    if state.stuck:
        fix = "a worker of this version frees them within seconds: tailrace worker"
        return warning("queue", f"{detail}, {state.stuck} of them are stuck", fix)
    if state.wait_ms > _LONG_WAIT_S * 1000:
        fix = "start more workers, or raise TAILRACE_MAX_JOBS"
        return warning("queue", f"{detail}, the first for {state.wait_ms / 1000:.0f} s", fix)
    return ok("queue", detail)


def workers(seen: Sequence[WorkerSeen], *, waiting: int) -> Finding:
    """Return whether somebody would answer a question that is asked now."""
    taking = [worker for worker in seen if not worker.draining]
    if not taking:
        detail = f"none is running; {waiting} streams wait for one" if waiting else "none is running"
        return warning("workers", detail, "tailrace worker, or tailrace up")
    jobs, most = sum(worker.jobs for worker in taking), sum(worker.max_jobs for worker in taking)
    detail = f"{len(taking)} running, with {jobs} streams of at most {most}"
    versions = sorted({worker.version for worker in taking})
    return ok("workers", detail if len(versions) == 1 else f"{detail}; versions {', '.join(versions)}")


def _mute(check: str, place: str, error: StoreError, fix: str) -> Finding:
    if isinstance(error, StoreReadOnly):
        fix = "name the master, or its Sentinels (redis+sentinel://…), or promote it: REPLICAOF NO ONE"
        return failed(check, f"a replica answers at {place}", fix)
    if is_about_password(error):
        return failed(check, f"Redis at {place} refuses the password: {error.message}", _PASSWORD_FIX)
    return failed(check, f"no answer from {place}: {error.message}", fix)


def is_about_password(error: StoreError) -> bool:
    """Return whether Redis wants a password (NOAUTH) or another one (WRONGPASS)."""
    return isinstance(error.__cause__, AuthenticationError)


def version(info: Info) -> Finding:
    """Functions came with Redis 7.0, and what they call."""
    found = Version.of(info)
    if not found.is_enough:
        return failed("redis version", f"{found} is older than {found.oldest}", _NEWER)
    return ok("redis version", str(found))


def holes(infos: Sequence[Info]) -> Sequence[Finding]:
    """A warning for known holes. Whether a distribution has mended them under its number only that can tell."""
    versions = {str(found): found.holes for found in map(Version.of, infos) if found.holes}
    if not versions:
        return ()
    detail = "; ".join(f"{name}: {', '.join(known)}" for name, known in versions.items())
    return (warning("redis holes", detail, _MENDED),)


def _encryption(url: str) -> Sequence[Finding]:
    """A warning if TLS does not say who is spoken to; nothing else is worth a line."""
    if not is_unverified(url):
        return ()
    detail = "encrypted, but anybody could stand in Redis' place (ssl_cert_reqs=none or ssl_check_hostname=no)"
    return (
        warning("redis tls", detail, "name the authority with ?ssl_ca_certs=… and have the host in the certificate"),
    )


def eviction(info: Info, *, is_allowed: bool) -> Finding:
    policy = str(info.get("maxmemory_policy", "unknown"))
    if not evicts(policy):
        return ok("eviction", policy)
    fix = "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf"
    if is_allowed:
        return warning("eviction", f"{policy}: streams can be lost, as TAILRACE_ALLOW_EVICTION permits", fix)
    return failed("eviction", f"{policy}: Redis may drop streams that are being read", fix)


def persistence(info: Info) -> Finding:
    """The append-only file keeps all but the last second; a replica keeps a restart from losing everything."""
    if not int(info.get("aof_enabled", 0)):
        fix = "CONFIG SET appendonly yes, and the same in redis.conf (appendfsync everysec)"
        if int(info.get("connected_slaves", 0)):
            return warning("persistence", "no append-only file; replicas hold the only copies", fix)
        return failed("persistence", "no append-only file: a restart loses every stream", fix)
    if info.get("aof_last_write_status", "ok") != "ok":
        return failed("persistence", "the last write to the append-only file failed", "is the disk of Redis full?")
    return ok("persistence", "append-only file")


def memory(info: Info, *, budget_bytes: int) -> Finding:
    limit = int(info.get("maxmemory", 0))
    if limit == 0:
        return ok("memory", f"no maxmemory; streams use at most {_mib(budget_bytes)} (TAILRACE_MAX_TOTAL_BYTES)")
    if limit >= budget_bytes:
        return ok("memory", f"maxmemory {_mib(limit)}, of which streams use at most {_mib(budget_bytes)}")
    fix = f"CONFIG SET maxmemory {2 * budget_bytes}, or lower TAILRACE_MAX_TOTAL_BYTES"
    return warning("memory", f"maxmemory {_mib(limit)} is less than the streams may use ({_mib(budget_bytes)})", fix)


def strain(info: Info, usage: ByteSums, tenants: Mapping[str, int], *, settings: Settings) -> Finding | None:
    """The limit of memory that is near, if one is: Redis' own before ours, that of all streams before that of one."""
    used_bytes, limit_bytes, budget_bytes = int(info["used_memory"]), int(info["maxmemory"]), settings.max_total_bytes
    if limit_bytes and used_bytes > limit_bytes * _NEAR_SHARE:
        fix = "raise maxmemory, or lower TAILRACE_MAX_TOTAL_BYTES or TAILRACE_RETAIN_S"
        return warning("memory", f"Redis uses {_mib(used_bytes)} of maxmemory {_mib(limit_bytes)}", fix)
    soft_bytes = budget_bytes * settings.soft_share
    if usage.bytes > soft_bytes * _NEAR_SHARE:
        now = "are being evicted" if usage.bytes > soft_bytes else f"are evicted from {_mib(soft_bytes)} on"
        fix = "raise TAILRACE_MAX_TOTAL_BYTES (and maxmemory), or lower TAILRACE_RETAIN_S"
        return warning("memory", f"streams hold {_mib(usage.bytes)} of {_mib(budget_bytes)}: finished ones {now}", fix)
    most_bytes = settings.max_tenant_bytes
    if most_bytes and (near := [held for held in tenants.values() if held > most_bytes * _NEAR_SHARE]):
        detail = f"{len(near)} tenants hold nearly {_mib(most_bytes)} each: finished streams of theirs are evicted"
        return warning("memory", detail, "raise TAILRACE_MAX_TENANT_BYTES, or lower TAILRACE_RETAIN_S")
    if usage.largest > settings.max_stream_bytes * _NEAR_SHARE:
        detail = (
            f"the largest stream holds {_mib(usage.largest)} of {_mib(settings.max_stream_bytes)}: it loses its start"
        )
        return warning("memory", detail, "raise TAILRACE_MAX_STREAM_BYTES, or ask for shorter answers (max_tokens)")
    return None


def skew(offset_s: float) -> Finding:
    """Judge the offset of this machine's clock from Redis'. Leases use Redis' clock; only times shown would be off."""
    detail = f"{abs(offset_s) * 1000:.0f} ms {'behind' if offset_s > 0 else 'ahead of'} Redis"
    fix = "synchronise the clocks of this machine and of Redis (chrony, systemd-timesyncd)"
    if abs(offset_s) >= _SKEW_FAILURE_S:
        return failed("clock", detail, fix)
    if abs(offset_s) >= _SKEW_WARNING_S:
        return warning("clock", detail, fix)
    return ok("clock", detail)


async def _infos(client: "Redis") -> Sequence[Info]:
    """Return the information of each master."""
    masters = await client.router.masters() if isinstance(client, ClusterClient) else [client]
    return [await master.info() for master in masters]


def _worst(findings: Sequence[Finding]) -> Finding:
    """A cluster is as fit as its least fit master."""
    return max(findings, key=lambda finding: _GRAVITY[finding.status])


async def _memory(client: "Redis", info: Info, settings: Settings) -> Finding:
    """Judge the memory that Redis may use, unless a limit is near: that is the more urgent finding."""
    store = RedisStore(client, Keyspace(settings.prefix))
    tenants = await store.tenants() if settings.max_tenant_bytes else {}
    near = strain(info, await store.usage(), tenants, settings=settings)
    return near or memory(info, budget_bytes=settings.max_total_bytes)


async def _functions(client: "Redis", *, load: bool) -> Finding:
    library = Library.read()
    if not await _tried(lambda: library.is_loaded(client)):
        if not load:
            fix = "the first call loads them; to do it now: tailrace doctor --load"
            return warning("functions", f"{library.name} is not loaded", fix)
        try:
            await library.load(client)
        except StoreError as error:
            return failed(
                "functions", f"cannot be loaded: {error.message}", "allow the user FUNCTION and FCALL (ACL SETUSER)"
            )
    return ok("functions", f"{library.name} is loaded")


async def _rights(client: "Redis", settings: Settings) -> Sequence[Finding]:
    """Report the rights that the Redis user lacks, if the functions are there to tell."""
    if not await _tried(lambda: Library.read().is_loaded(client)):
        return ()
    try:
        await RedisStore(client, Keyspace(settings.prefix)).prove("worker")
    except StoreDenied as denial:
        return (failed("rights", denial.message, "grant them (ACL SETUSER); docs/deploy.md has the whole list"),)
    return ()


async def _clock(client: "Redis") -> Finding:
    before_s = time.time()
    seconds, micros = await client.time()
    after_s = time.time()
    return skew(seconds + micros / 1e6 - (before_s + after_s) / 2)


async def _tried(ask: Callable[[], Awaitable[bool]]) -> bool:
    """An answer that Redis refuses to give (no permission, no such command) counts as no."""
    try:
        return await ask()
    except StoreError:
        return False


def _mib(amount_bytes: float) -> str:
    return f"{amount_bytes / 2**20:.0f} MiB"
