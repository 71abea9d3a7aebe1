"""The store on Redis Streams: the keys of `keys.py`, the functions of `lua/`, and nothing that decides."""

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from shared.errors import StoreError, StoreMisused
from shared.log.events import Event
from shared.log.keys import ID_CHARS, KEY_TYPES, Keyspace, bucket_of
from shared.log.position import Position
from shared.settings.settings import Settings
from shared.store.accounting import usage_sum
from shared.store.calls import Append, Claim, Compact, Eviction, LeaseRenewal, NewStream, Retention
from shared.store.listing import IndexPlace, matches
from shared.store.meta_hash import meta_reply, tombstone_reply
from shared.store.redis import replies
from shared.store.redis.access.rights import denial_in, proof_words
from shared.store.redis.append import AppendCommands, replies_of
from shared.store.redis.cancels import RedisCancelListener
from shared.store.redis.client import open_client
from shared.store.redis.errors import about_key, is_missing_function, is_wrong_type, mapped, mapping
from shared.store.redis.library import Library
from shared.store.redis.pipe import Command
from shared.store.redis.reads import Answer, LogRead, RedisReads
from shared.store.redis.sentinel.pool import follow_master
from shared.store.redis.topology import (
    Pipe,
    is_cluster,
    one_id_for_each_node,
    pipe_for_single_calls,
    pipe_to,
    tailer_of,
)
from shared.store.replies import (
    AppendReply,
    CancelReply,
    ClaimReply,
    CompactReply,
    CreateReply,
    Deleted,
    EvictReply,
    FinishReply,
    Gone,
    RenewalReply,
)
from shared.store.state import ByteSums, EvictionCandidate, Listing, Meta, Recount, Server, Snapshot, Tombstone
from shared.store.store import CancelListener, Role, Tailer
from shared.store.version import Version

__all__ = ("RedisStore", "open_store")

logger = logging.getLogger(__name__)

T = TypeVar("T")
# A call, an append or a read: each begins with the id of its stream.
C = TypeVar("C", bound=tuple[Any, ...])
Call = tuple[str, str, Sequence[Any]]

# Bucket counts may change over the years, so what looks at all buckets looks at every one there can be.
_BUCKETS = tuple(f"{bucket:02x}" for bucket in range(256))
_SECRET_BYTES = 32
# Of each page when several are asked for at once. Most answers are shorter than that.
_PAGE_OF_MANY_BYTES = 32 * 1024


def open_store(settings: Settings) -> "RedisStore":
    """Return the store that these settings name. Nothing is connected yet."""
    return RedisStore(open_client(settings.redis_url, timeout_s=settings.redis_timeout_s), Keyspace(settings.prefix))


class RedisStore:
    """`Store` on Redis >= 7.0 or Valkey >= 7.2. Owns its client; `aclose` ends it."""

    def __init__(self, client: "Redis", keys: Keyspace) -> None:
        self._client = client
        self._keys = keys
        self._library = Library.read()
        self._appends = AppendCommands(self._library, keys, is_cluster=is_cluster(client))
        self._pipe = pipe_to(client)
        self._read_pipe = pipe_to(client)
        # A claim is answered with the request, and Redis holds what has not been taken yet. So they go one by one:
        # 66 of 1 MiB at once took two thirds of a budget of 96 MiB beside what was counted.
        self._claim_pipe = pipe_for_single_calls(client)
        self._reads = RedisReads(self._read_many)

    def __repr__(self) -> str:
        return f"<RedisStore {self._keys.prefix} {self._library.name}>"

    @property
    def client(self) -> "Redis":
        """The client underneath, for what is not about streams: `doctor`, the queue, metrics."""
        return self._client

    @property
    def keys(self) -> Keyspace:
        return self._keys

    async def create(self, new: NewStream, retention: Retention) -> CreateReply:
        args = [new.tenant, new.model, new.request, new.digest, new.metadata, new.interruption or "", new.dispatch_ms]
        reply = await self._call(new.id, "create", *args, retention.live_ms, retention.tombstone_ms)
        return replies.create_reply(reply)

    async def claim(self, stream_id: str, claim: Claim, retention: Retention) -> ClaimReply:
        # The provider is noted when it has answered; until then none is.
        args = [claim.nonce, claim.worker, claim.lease_ms, claim.mode, claim.reason, claim.holder, ""]
        args += [claim.max_attempts, retention.live_ms, retention.tombstone_ms]
        return replies.claim_reply(await self._call(stream_id, "claim", *args, pipe=self._claim_pipe))

    async def append(self, appends: Sequence[Append], retention: Retention) -> Sequence[AppendReply | Exception]:
        async def ask(asked: Sequence[Append]) -> list[Any]:
            calls = self._appends.calls(asked)
            return replies_of(calls, await self._pipe.ask([self._appends.packed(call, retention) for call in calls]))

        return list(map(replies.append_reply, appends, await self._answers(appends, ask)))

    async def heartbeat(
        self, renewals: Sequence[LeaseRenewal], retention: Retention
    ) -> Sequence[RenewalReply | Exception]:
        calls: list[Call] = [
            (renewal.id, "heartbeat", (renewal.nonce, renewal.lease_ms, retention.live_ms, retention.tombstone_ms))
            for renewal in renewals
        ]
        return await self._call_many(calls, replies.renewal_reply, self._fcall)

    async def cancel(self, stream_id: str, *, attempt: int | None, nonce: str, retention: Retention) -> CancelReply:
        target = "" if attempt is None else attempt
        args = [target, nonce, retention.retain_ms, retention.tombstone_ms, self._keys.cancels]
        return replies.cancel_reply(await self._call(stream_id, "cancel", *args))

    async def finish(self, stream_id: str, event: Event, *, nonce: str, retention: Retention) -> FinishReply:
        args = [nonce, event.kind, event.value, retention.retain_ms, retention.tombstone_ms, event.kind, event.value]
        return replies.finish_reply(await self._call(stream_id, "finish", *args))

    async def release(self, stream_id: str, nonce: str) -> RenewalReply:
        return replies.renewal_reply(await self._call(stream_id, "release", nonce))

    async def delete(self, stream_id: str, retention: Retention) -> Deleted | Gone:
        return replies.delete_reply(await self._call(stream_id, "delete", retention.tombstone_ms))

    async def meta(self, stream_id: str) -> Meta | None:
        (meta,) = await self._metas([stream_id])
        if isinstance(meta, Exception):
            raise meta
        return meta

    async def read(self, stream_id: str, after: Position, *, limit: int) -> Snapshot | None:
        return await self._reads.read(LogRead(stream_id, after, limit))

    async def tombstone(self, stream_id: str) -> Tombstone | None:
        with mapping():
            raw = await cast("Awaitable[dict[bytes, bytes]]", self._client.hgetall(self._keys.tombstone(stream_id)))
        return tombstone_reply(raw)

    async def present(self, stream_ids: Sequence[str]) -> Sequence[str]:
        keys = [key for stream_id in stream_ids for key in (self._keys.meta(stream_id), self._keys.stream(stream_id))]
        with mapping():
            if not keys or await self._client.exists(*keys) == len(keys):
                return list(stream_ids)
        # Seldom: somebody is missing, or a queued stream has no log yet. Ask about each.
        async with self._client.pipeline(transaction=False) as pipe:
            for stream_id in stream_ids:
                pipe.hget(self._keys.meta(stream_id), "attempt")
                pipe.exists(self._keys.stream(stream_id))
            answers = await self._execute_each(pipe)
        pairs = zip(stream_ids, answers[::2], answers[1::2], strict=True)
        return [stream_id for stream_id, attempt, has_log in pairs if _is_present(attempt, has_log)]

    async def due(self, *, limit: int) -> Sequence[str]:
        return await self._overdue(self._keys.leases, quiet_ms=0, limit=limit)

    async def listing(self, tenant: str, *, status: str | None, limit: int, cursor: str | None) -> Listing:
        after = IndexPlace.parse(cursor) if cursor else None
        page: list[Meta] = []
        while True:
            candidates = await self._created(after, limit=limit)
            metas = await self._metas([candidate.id for candidate in candidates])
            for after, meta in zip(candidates, metas, strict=True):
                if isinstance(meta, StoreMisused):
                    logger.error("a stream cannot be listed: %s", meta.message, extra={"stream": after.id})
                elif isinstance(meta, Exception):
                    raise meta
                elif meta is not None and meta.tenant == tenant and matches(meta.status, status):
                    page.append(meta)
                if len(page) == limit:
                    return Listing(page, str(after))
            if len(candidates) < limit:
                return Listing(page, None)

    async def statistics(self) -> Mapping[str, int]:
        async with self._client.pipeline(transaction=False) as pipe:
            for bucket in _BUCKETS:
                pipe.hget(self._keys.usage(bucket), "created")
                pipe.zcard(self._keys.leases(bucket))
                pipe.zcard(self._keys.recent(bucket))
            answers = await self._execute(pipe)
        live, known = sum(answers[1::3]), sum(answers[2::3])
        return {"live": live, "finished": known - live, "created": sum(int(created or 0) for created in answers[::3])}

    async def touch(self, stream_id: str) -> None:
        await self._call(stream_id, "touch")

    async def compact(self, calls: Sequence[Compact]) -> Sequence[CompactReply | Exception]:
        asked: list[Call] = [(call.id, "compact", (call.nonce, call.block_bytes, call.max_bytes)) for call in calls]
        return await self._call_many(asked, replies.compact_reply, self._fcall)

    async def evict(
        self, stream_ids: Sequence[str], *, why: Eviction, tombstone_ms: int
    ) -> Sequence[EvictReply | Exception]:
        asked: list[Call] = [(stream_id, "evict", (why, tombstone_ms)) for stream_id in stream_ids]
        return await self._call_many(asked, replies.evict_reply, self._fcall)

    async def maintenance_due(self, *, quiet_ms: int, limit: int) -> Sequence[str]:
        return await self._overdue(self._keys.maintenance, quiet_ms=quiet_ms, limit=limit)

    async def eviction_candidates(self, *, limit: int, place: str | None = None) -> Sequence[EvictionCandidate]:
        after = IndexPlace.parse(place) if place else IndexPlace(0, "")
        async with self._client.pipeline(transaction=False) as pipe:
            for bucket in _BUCKETS:
                key = self._keys.recent(bucket)
                pipe.zrangebyscore(key, after.at_ms, "+inf", start=0, num=limit, withscores=True)
            buckets = await self._execute(pipe)
        found = [IndexPlace(int(score), member.decode()) for bucket in buckets for member, score in bucket]
        places = sorted(place for place in found if place > after)[:limit]
        async with self._client.pipeline(transaction=False) as pipe:
            for each in places:
                pipe.hmget(self._keys.meta(each.id), list(replies.CANDIDATE_FIELDS))
            fields = await self._execute_each(pipe)
        found_each = [self._eviction_candidate(each, held) for each, held in zip(places, fields, strict=True)]
        return [each for each in found_each if each is not None]

    async def usage(self, *, buckets: int = len(_BUCKETS)) -> ByteSums:
        return usage_sum((await self._usages(_BUCKETS[:buckets])).values())

    async def usage_by_bucket(self) -> Mapping[str, ByteSums]:
        return await self._usages(_BUCKETS)

    async def _usages(self, buckets: Sequence[str]) -> Mapping[str, ByteSums]:
        answers = await self._ask([("HMGET", self._keys.usage(bucket), *replies.USAGE_FIELDS) for bucket in buckets])
        pairs = zip(buckets, answers, strict=True)
        return {bucket: replies.usage_reply(raw) for bucket, raw in pairs if any(raw)}

    async def tenant_bytes(self, tenant: str) -> int:
        async with self._client.pipeline(transaction=False) as pipe:
            for bucket in _BUCKETS:
                pipe.hget(self._keys.usage(bucket), f"bytes:{tenant}")
            answers = await self._execute(pipe)
        return sum(int(held or 0) for held in answers)

    async def tenants(self) -> Mapping[str, int]:
        async with self._client.pipeline(transaction=False) as pipe:
            for bucket in _BUCKETS:
                pipe.hgetall(self._keys.usage(bucket))
            answers = await self._execute(pipe)
        return replies.tenant_sums(answers)

    async def recount(self, bucket: str, *, limit: int) -> Recount | None:
        return replies.recount_reply(await self._call(bucket.ljust(ID_CHARS, "0"), "recount", limit))

    async def footprint(self, stream_id: str) -> int:
        async with self._client.pipeline(transaction=False) as pipe:
            for key in self._keys.of_stream(stream_id)[:5]:
                pipe.memory_usage(key, samples=0)
            return sum(filter(None, await self._execute(pipe)))

    async def server(self) -> Server:
        with mapping():
            found = await self._client.info("memory", "server")  # type: ignore[arg-type]
        memory = (int(found["used_memory"]), int(found["maxmemory"]), str(found["maxmemory_policy"]))
        return Server(*memory, Version.of(found))

    async def secret(self, *, known: bytes | None = None) -> bytes:
        with mapping():
            held: bytes | None = await self._client.get(self._keys.secret)
            if held is None:
                offered = known or secrets.token_bytes(_SECRET_BYTES)
                held = await self._client.set(self._keys.secret, offered, nx=True, get=True) or offered
        return held

    async def set_current(self, name: str, stream_id: str, *, expires_ms: int) -> None:
        with mapping():
            await self._client.set(self._keys.current(name), stream_id, px=expires_ms)

    async def current(self, name: str, *, expires_ms: int) -> str | None:
        with mapping():
            held: bytes | None = await self._client.get(self._keys.current(name))
            if held is None:
                return None
            await self._client.pexpire(self._keys.current(name), expires_ms)
        return held.decode()

    async def ping(self) -> None:
        with mapping():
            await self._client.ping()

    async def watch(self) -> None:
        await follow_master(self._client)

    async def prove(self, role: Role) -> None:
        """Writes nothing. Each node of a cluster has rights of its own, and is asked for itself."""
        for stream_id in await one_id_for_each_node(self._client):
            words = proof_words(role, self._keys, stream_id)
            if (denial := denial_in(await self._call(stream_id, "prove", *words))) is not None:
                raise denial

    async def load(self) -> None:
        """Load the functions now rather than at the first call; says early that Redis is older than 7."""
        await self._library.load(self._client)

    async def is_loaded(self) -> bool:
        return await self._library.is_loaded(self._client)

    def tailer(self) -> Tailer:
        return tailer_of(self._client, self._keys)

    def cancellations(self) -> CancelListener:
        return RedisCancelListener(self._client, self._keys)

    async def forget(self, stream_id: str) -> None:
        bucket = bucket_of(stream_id)
        async with self._client.pipeline(transaction=False) as pipe:
            pipe.zrem(self._keys.leases(bucket), stream_id)
            pipe.zrem(self._keys.recent(bucket), stream_id)
            pipe.zrem(self._keys.maintenance(bucket), stream_id)
            pipe.zrem(self._keys.created(bucket), stream_id)
            await self._execute(pipe)

    async def aclose(self) -> None:
        await self._pipe.aclose()
        await self._read_pipe.aclose()
        await self._claim_pipe.aclose()
        await self._client.aclose()

    async def _overdue(self, index: Callable[[str], str], *, quiet_ms: int, limit: int) -> list[str]:
        """The streams of an index by time whose time was `quiet_ms` ago or earlier, by Redis' clock."""
        with mapping():
            seconds, micros = await self._client.time()
        until_ms = seconds * 1000 + micros // 1000 - quiet_ms
        span = (0, until_ms, "WITHSCORES", "LIMIT", 0, limit)
        found = await self._ask([("ZRANGEBYSCORE", index(bucket), *span) for bucket in _BUCKETS])
        pairs = (pair for bucket in found for pair in zip(bucket[::2], bucket[1::2], strict=True))
        longest_due = sorted((float(due_ms), stream_id) for stream_id, due_ms in pairs)
        return [stream_id.decode() for _, stream_id in longest_due[:limit]]

    async def _created(self, after: IndexPlace | None, *, limit: int) -> list[IndexPlace]:
        """The places of the streams of all buckets that were created before the one at a place."""
        async with self._client.pipeline(transaction=False) as pipe:
            for bucket in _BUCKETS:
                key, below = self._keys.created(bucket), f"({after.at_ms}" if after else "+inf"
                pipe.zrevrangebyscore(key, below, 0, start=0, num=limit, withscores=True)
                if after:
                    pipe.zrangebyscore(key, after.at_ms, after.at_ms, withscores=True)
            buckets = await self._execute(pipe)
        found = [IndexPlace(int(score), member.decode()) for bucket in buckets for member, score in bucket]
        return sorted((place for place in found if after is None or place < after), reverse=True)[:limit]

    async def _metas(self, stream_ids: Sequence[str]) -> list[Meta | Exception | None]:
        """Of each stream; `StoreMisused` stands in the place of one that nobody can read."""
        async with self._client.pipeline(transaction=False) as pipe:
            for stream_id in stream_ids:
                pipe.hgetall(self._keys.meta(stream_id))
            found = await self._execute_each(pipe)
        return [self._meta(stream_id, raw) for stream_id, raw in zip(stream_ids, found, strict=True)]

    def _meta(self, stream_id: str, raw: Any) -> Meta | Exception | None:
        key = self._keys.meta(stream_id)
        if isinstance(raw, Exception):
            return about_key(key, mapped(raw))
        try:
            return meta_reply(stream_id, raw)
        except (LookupError, TypeError, ValueError) as error:
            return StoreMisused(f"{key} is not as Tailrace writes it: {error}")

    def _eviction_candidate(self, place: IndexPlace, held: Any) -> EvictionCandidate | None:
        """None for a stream that is not there, or that nobody can read: it is not in the way of the others."""
        if isinstance(held, Exception):
            error = mapped(held)
            if error.retryable:
                raise error
            return None
        try:
            return replies.eviction_candidate(place, held) if held[0] is not None else None
        except ValueError:
            return None

    async def _call(self, stream_id: str, function: str, *args: Any, pipe: Pipe | None = None) -> Any:
        ask = self._fcall if pipe is None else self._fcall_on(pipe)
        (reply,) = await self._call_many([(stream_id, function, args)], _as_it_came, ask)
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def _call_many(
        self, calls: Sequence[C], parse: Callable[[Any], T], ask: Callable[[Sequence[C]], Awaitable[list[Any]]]
    ) -> list[T | Exception]:
        return [raw if isinstance(raw, Exception) else parse(raw) for raw in await self._answers(calls, ask)]

    async def _answers(self, calls: Sequence[C], ask: Callable[[Sequence[C]], Awaitable[list[Any]]]) -> list[Any]:
        """The answers as they came; refusals stand among them as our exceptions."""
        raw = await ask(calls)
        refused = [index for index, reply in enumerate(raw) if isinstance(reply, Exception)]
        if not refused:
            return raw
        missing = [index for index in refused if is_missing_function(raw[index])]
        if missing:
            # A function that was not there has written nothing, so calling it again is safe.
            await self.load()
            again = await ask([calls[index] for index in missing])
            for index, reply in zip(missing, again, strict=True):
                raw[index] = reply
        for index in refused:
            if isinstance(raw[index], Exception):
                raw[index] = await self._named(calls[index][0], mapped(raw[index]))
        return raw

    async def _named(self, stream_id: str, error: StoreError) -> StoreError:
        """A function is given ten keys, and Redis does not say which of them is of another type."""
        if not is_wrong_type(error):
            return error
        keys = self._keys.of_stream(stream_id)
        async with self._client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.type(key)
            types = await self._execute_each(pipe)
        for key, found, due in zip(keys, types, KEY_TYPES, strict=True):
            if isinstance(found, bytes) and found.decode() not in {due, "none"}:
                return about_key(key, error)
        return error

    async def _fcall(self, calls: Sequence[Call]) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipe:
            for call in calls:
                pipe.execute_command(*self._command(call))
            return await self._execute_each(pipe)

    def _fcall_on(self, pipe: Pipe) -> Callable[[Sequence[Call]], Awaitable[list[Any]]]:
        async def ask(calls: Sequence[Call]) -> list[Any]:
            return await pipe.ask([self._command(call) for call in calls])

        return ask

    async def _read_many(self, reads: Sequence[LogRead]) -> list[Answer]:
        """Large pages are read one after the other: Redis holds all that it has answered and nobody has taken."""
        most_bytes = _PAGE_OF_MANY_BYTES if len(reads) > 1 else 0
        raw = await self._pages(reads, most_bytes=most_bytes)
        for place, reply in enumerate(raw):
            if reply == replies.LARGE:
                (raw[place],) = await self._pages([reads[place]], most_bytes=0)
        return [self._snapshot(read, reply) for read, reply in zip(reads, raw, strict=True)]

    async def _pages(self, reads: Sequence[LogRead], *, most_bytes: int) -> list[Any]:
        calls: list[Call] = [(read.stream_id, "read", (str(read.after), read.limit, most_bytes)) for read in reads]
        return await self._call_many(calls, _as_it_came, self._fcall_on(self._read_pipe))

    def _snapshot(self, read: LogRead, reply: Any) -> Answer:
        if isinstance(reply, Exception):
            return reply
        try:
            return replies.snapshot_reply(read.stream_id, reply)
        except (LookupError, TypeError, ValueError) as error:
            # Raised to those who asked for this stream: what it holds is not the trouble of the others.
            keys = f"{self._keys.meta(read.stream_id)} or its log"
            return StoreMisused(f"{keys} is not as Tailrace writes it: {error}")

    def _command(self, call: Call) -> tuple[Any, ...]:
        stream_id, function, args = call
        keys = self._keys.of_stream(stream_id)
        return ("FCALL", self._library.function(function), len(keys), *keys, *args)

    async def _ask(self, commands: Sequence[Command]) -> list[Any]:
        """Ask all buckets at once, once a second and more on every worker: redis-py takes ten times the CPU."""
        answers = await self._read_pipe.ask(commands)
        for answer in answers:
            if isinstance(answer, Exception):
                raise mapped(answer) from answer
        return answers

    async def _execute(self, pipe: "Pipeline") -> list[Any]:
        results = await self._execute_each(pipe)
        for result in results:
            if isinstance(result, Exception):
                raise mapped(result) from result
        return results

    async def _execute_each(self, pipe: "Pipeline") -> list[Any]:
        """Answers and refusals as they came: redis-py would hide the refusal's first word behind the command."""
        with mapping():
            results: list[Any] = await pipe.execute(raise_on_error=False)
        return results


def _is_present(attempt: Any, has_log: Any) -> bool:
    """Return whether a stream is there; one that may not be read counts, as its reader will be told."""
    if isinstance(attempt, Exception) or isinstance(has_log, Exception):
        return True
    return attempt == b"0" or bool(attempt and has_log)


def _as_it_came(reply: Any) -> Any:
    return reply
