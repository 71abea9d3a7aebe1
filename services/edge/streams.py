"""The edge's operations, free of HTTP: create, open, look at, cancel and delete streams on behalf of a caller."""

import logging
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from prometheus_client import Counter

from services.edge.access.admission import Admission
from services.edge.access.byte_limiter import ByteLimiter
from services.edge.access.caller import Caller
from services.edge.access.rights import needs
from services.edge.delivery.delivery import Delivery
from services.edge.delivery.feed import Feed
from services.edge.delivery.reader import FIRST_PAGE_EVENTS, Reader
from services.edge.delivery.reading import Judged, last_part
from services.edge.dispatching import Dispatching
from services.edge.statistics import memory_state
from services.edge.wires import notices
from services.edge.wires.wire import Wire
from services.edge.workforce import Workforce
from shared.errors import (
    Draining,
    IdempotencyConflict,
    InvalidBody,
    MemoryPressure,
    StoreError,
    StoreFull,
    StreamDeleted,
    StreamExpired,
    UnknownModel,
    UnknownStream,
)
from shared.log.keys import derived_id, is_stream_id, new_id
from shared.log.lineage import Reset
from shared.log.position import NONCE_CHARS, START, EventId
from shared.queue.dispatcher import Dispatcher
from shared.settings.settings import Settings
from shared.store.calls import Interruption, NewStream
from shared.store.replies import CancelReply, Created, CreateReply, Exists, Gone
from shared.store.resume import Deliver, Gap, Renamed, Step, UpToDate, Vanished, at_end
from shared.store.state import Listing, Meta, Snapshot
from shared.store.store import Store
from shared.telemetry.metrics import ResumeOutcome

__all__ = ("NOW", "RESUME_OUTCOMES", "CreatedStream", "Streams", "WantedStream")

logger = logging.getLogger(__name__)

# Requests that are on their way to Redis at the same time: this part of the budget, or a single one. Redis has each of
# them up to three times then; 96 creates of 1 MiB that came at once took 0.12 of a budget of 96 MiB beside the sums.
_TURNS_SHARE = 1 / 256
# The cursor of a reader that only wants what is yet to come.
NOW = "now"
# What a cursor was worth, as the metrics call it.
RESUME_OUTCOMES: Final[Mapping[type[Step], ResumeOutcome]] = {
    Deliver: "resumed",
    Renamed: "renamed",
    UpToDate: "up_to_date",
    Reset: "reset",
    Gap: "gap",
    Vanished: "gone",
}


@dataclass(frozen=True, slots=True)
class WantedStream:
    """A question to a model. `request` is for the provider, as JSON; `digest` tells this request from any other."""

    model: str
    messages: int
    request: bytes = field(repr=False)
    digest: str
    metadata: Mapping[str, str] = field(repr=False)
    interruption: Interruption | None


@dataclass(frozen=True, slots=True)
class CreatedStream:
    """`is_new` is false when an idempotency key led to a stream that was there already."""

    id: str
    status: str
    is_new: bool


class Streams:
    """The edge's operations, each with the right it needs. A stream of another tenant is an unknown one."""

    def __init__(self, store: Store, dispatcher: Dispatcher, delivery: Delivery, settings: Settings) -> None:
        self.dispatching = Dispatching(dispatcher)
        self.workforce = Workforce(dispatcher, delivery.metrics)
        self._store = store
        self._delivery = delivery
        self._settings = settings
        self._admission = Admission(store, settings)
        self._limiter = ByteLimiter(round(settings.max_total_bytes * _TURNS_SHARE))
        self._resumes: dict[ResumeOutcome, Counter] = {}
        self._secret: bytes | None = None
        self.is_draining = False

    @needs("create")
    async def create(self, caller: Caller, wanted: WantedStream, *, idempotency_key: str | None) -> CreatedStream:
        """Raises `UnknownModel`, `InvalidBody`, `IdempotencyConflict`, `Draining` or `StoreError`."""
        self._refuse_if_draining()
        if not self._settings.providers_of(wanted.model):
            raise UnknownModel
        if wanted.messages > self._settings.max_messages:
            raise InvalidBody(f"messages: more than {self._settings.max_messages}")
        new = NewStream(
            id=await self._id_for(caller, idempotency_key),
            tenant=caller.tenant,
            model=wanted.model,
            request=wanted.request,
            digest=wanted.digest,
            metadata=orjson.dumps(wanted.metadata),
            interruption=wanted.interruption,
            dispatch_ms=round(self._settings.dispatch_s * 1000),
        )
        match await self._create(new):
            case Created():
                self._delivery.metrics.streams_created.inc()
                await self.dispatching.dispatch(new.id, tenant=new.tenant)
                return CreatedStream(new.id, "queued", is_new=True)
            case Exists(digest, status, tenant):
                if tenant != caller.tenant or digest != new.digest:
                    raise IdempotencyConflict
                if status == "queued":
                    # Whoever created it may have died before it was dispatched; that is why somebody asks again.
                    await self.dispatching.dispatch(new.id, tenant=tenant)
                return CreatedStream(new.id, status, is_new=False)
            case Gone():
                raise StreamExpired("The stream of this Idempotency-Key has expired.")

    @needs("read")
    async def open(
        self,
        caller: Caller,
        stream_id: str,
        cursor_text: str | None,
        wire: Wire,
        *,
        told: int | None = None,
        tail: int | None = None,
    ) -> Reader | None:
        """A reader at the cursor; None when the stream is over and the cursor at its end.

        Whoever was `told` the frames of a wire up to a number may lack some that come after the last event. Without a
        cursor a reader can have the last `tail` units only.
        """
        self._refuse_if_draining()
        cursor = None if cursor_text in (None, NOW) else EventId.parse(cursor_text or "")
        if cursor is not None and told is None and (feed := self._followed(caller, stream_id, cursor)) is not None:
            self._count_outcome("up_to_date" if feed.after(cursor.position.offset) is None else "resumed")
            return Reader(self._delivery.context, stream_id, cursor, wire=wire, feed=feed)
        if tail is not None and cursor_text is None:
            late = await self._late(caller, stream_id, tail, wire)
            if late is not None:
                return late
        after = cursor or EventId(START, None)
        snapshot = await self._snapshot(caller, stream_id, after)
        if cursor_text == NOW:
            after = snapshot.meta.lineage.event_id(snapshot.meta.tail) if snapshot.meta.attempt else after
            snapshot = Snapshot(snapshot.meta, ())
        judged = Judged.of(after, snapshot)
        if cursor is not None:
            self._count_outcome(RESUME_OUTCOMES[type(judged.verdict)])
        if at_end(judged.meta, judged.verdict) and cursor_text is not None and told is None:
            return None
        if judged.meta.is_over:
            await self._touch(stream_id)
        return Reader.judged(self._delivery.context, judged, wire=wire, is_fresh=cursor is None, told=told)

    async def _late(self, caller: Caller, stream_id: str, tail: int, wire: Wire) -> Reader | None:
        """A reader of the last part; None if that is all there is."""
        meta = await self._meta(caller, stream_id)
        judged = await last_part(self._store, meta, tail, limit=FIRST_PAGE_EVENTS)
        if judged is None:
            return None
        if judged.meta.is_over:
            await self._touch(stream_id)
        left_out = notices.Gap(EventId(START, None), judged.cursor, "tail")
        return Reader.judged(self._delivery.context, judged, wire=wire, is_fresh=True, left_out=left_out)

    async def _create(self, new: NewStream) -> CreateReply:
        """Create a stream if there is memory for it."""
        try:
            async with self._limiter.taken(len(new.request)), self._admitted(new):
                return await self._store.create(new, self._settings.retention)
        except (MemoryPressure, StoreFull) as refusal:
            self._delivery.metrics.creates_refused.labels(code=refusal.code).inc()
            if isinstance(refusal, StoreFull):
                raise MemoryPressure from refusal
            raise

    @asynccontextmanager
    async def _admitted(self, new: NewStream) -> AsyncIterator[None]:
        """Repeating an earlier create needs no memory."""
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(self._admission.admitted(new.tenant, len(new.request)))
            except MemoryPressure:
                if await self._store.meta(new.id) is None:
                    raise
            yield

    async def _touch(self, stream_id: str) -> None:
        """Mark a finished stream as read, so that it is not evicted next. Not worth failing a reader for."""
        try:
            await self._store.touch(stream_id)
        except StoreError as error:
            logger.warning("stream %s was not marked as read: %s", stream_id, error.message)

    @needs("read")
    async def state(self, caller: Caller, stream_id: str) -> Meta:
        """The state of a stream at this moment, without its message. Raises `UnknownStream` or `StreamExpired`."""
        return await self._meta(caller, stream_id)

    @needs("cancel")
    async def cancel(self, caller: Caller, stream_id: str, *, attempt: int | None) -> CancelReply:
        await self._meta(caller, stream_id)
        nonce = secrets.token_hex(NONCE_CHARS // 2)
        return await self._store.cancel(stream_id, attempt=attempt, nonce=nonce, retention=self._settings.retention)

    @needs("delete")
    async def delete(self, caller: Caller, stream_id: str) -> None:
        await self._meta(caller, stream_id)
        await self._store.delete(stream_id, self._settings.retention)
        self._delivery.hub.vanish(stream_id)

    @needs("list")
    async def listing(self, caller: Caller, *, status: str | None, limit: int, cursor: str | None) -> Listing:
        return await self._store.listing(caller.tenant, status=status, limit=limit, cursor=cursor)

    @needs("admin")
    async def statistics(self, caller: Caller) -> Mapping[str, Any]:
        """Counts and bytes of all streams, the caller's share, what this edge holds, and which workers there are."""
        by_bucket = await self._store.usage_by_bucket()
        oldest = await self._store.eviction_candidates(limit=1)
        streams = dict(await self._store.statistics())
        return {
            "streams": streams,
            "memory": {
                **memory_state(by_bucket, self._settings, streams=streams["live"] + streams["finished"]),
                "oldest_ms": oldest[0].touched_ms if oldest else None,
                "tenant": {
                    "bytes": await self._store.tenant_bytes(caller.tenant),
                    "limit_bytes": self._settings.max_tenant_bytes or self._settings.max_total_bytes,
                },
            },
            "edge": self._delivery.statistics(),
            "workers": await self.workforce.state(),
        }

    def _refuse_if_draining(self) -> None:
        if self.is_draining:
            raise Draining

    async def _id_for(self, caller: Caller, idempotency_key: str | None) -> str:
        if idempotency_key is None:
            return new_id(buckets=self._settings.buckets)
        return derived_id(await self._agreed_secret(), caller.tenant, idempotency_key, buckets=self._settings.buckets)

    async def _agreed_secret(self) -> bytes:
        """The secret as all edges know it now. Redis may have lost it since, and have been given another one."""
        configured = self._settings.secret
        if configured is not None:
            return configured.get_secret_value().encode()
        self._secret = await self._store.secret(known=self._secret)
        return self._secret

    async def _meta(self, caller: Caller, stream_id: str) -> Meta:
        meta = await self._store.meta(stream_id) if is_stream_id(stream_id) else None
        if meta is None or meta.tenant != caller.tenant:
            raise await self._absence(caller, stream_id)
        return meta

    def _followed(self, caller: Caller, stream_id: str, cursor: EventId) -> Feed | None:
        """The feed of a stream that others read here, if it alone can serve this cursor."""
        feed = self._delivery.hub.current(stream_id)
        return feed if feed is not None and feed.tenant == caller.tenant and feed.covers(cursor) else None

    async def _snapshot(self, caller: Caller, stream_id: str, cursor: EventId) -> Snapshot:
        if not is_stream_id(stream_id):
            raise UnknownStream
        snapshot = await self._store.read(stream_id, cursor.position, limit=FIRST_PAGE_EVENTS)
        if snapshot is None or snapshot.meta.tenant != caller.tenant:
            raise await self._absence(caller, stream_id)
        return snapshot

    async def _absence(self, caller: Caller, stream_id: str) -> UnknownStream | StreamExpired:
        """Return the reason why there is no such stream for this caller: unknown and foreign look the same."""
        tombstone = await self._store.tombstone(stream_id) if is_stream_id(stream_id) else None
        if tombstone is None or tombstone.tenant != caller.tenant or await self._store.meta(stream_id) is not None:
            return UnknownStream()
        gone = StreamDeleted if tombstone.deleted else StreamExpired
        return gone(gone_ms=tombstone.gone_ms)

    def _count_outcome(self, outcome: ResumeOutcome) -> None:
        counter = self._resumes.get(outcome)
        if counter is None:
            counter = self._resumes[outcome] = self._delivery.metrics.resumes.labels(outcome=outcome)
        counter.inc()
