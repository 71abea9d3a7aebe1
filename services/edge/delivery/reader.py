"""One reader: a cursor that walks to the tail of a stream and then stays with it.

It takes what comes next from the edge's feed where that reaches far enough back, and from Redis where it does not;
so however slow it is, nothing queues up for it. Once it is up to date, and its carrier allows, the feed writes to it
directly.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from services.edge.carriers.carrier import Carrier, Disconnected
from services.edge.carriers.uvicorn_protocol import DirectSocket
from services.edge.delivery import reading
from services.edge.delivery.batch import Batch
from services.edge.delivery.context import ReaderContext
from services.edge.delivery.feed import Feed
from services.edge.delivery.large_frames import FrameName
from services.edge.delivery.live import Channel
from services.edge.delivery.parcel import PAGE_BYTES, WRITE_BYTES, Parcel, send_in_pieces
from services.edge.wires import notices
from services.edge.wires.numbered import NumberedWire
from services.edge.wires.wire import Unsayable, Wire, WireState
from shared.backoff import growing_s, jittered_s
from shared.errors import StoreError
from shared.log.lineage import Reset, ResetReason
from shared.log.position import START, EventId
from shared.store.resume import Deliver, Gap, Renamed, UpToDate, Vanished
from shared.store.state import Meta

__all__ = ("FIRST_PAGE_EVENTS", "Reader")

logger = logging.getLogger(__name__)

# Entries of one read of Redis. An event can be 32 KB, so pages begin small and grow only while their events are small.
FIRST_PAGE_EVENTS, _MOST_EVENTS = 32, 256

_RETRY_FIRST_S, _RETRY_MOST_S = 0.1, 1.0


class Reader:
    """Follows one stream from `cursor` until its end, the reader's, or the edge's."""

    __slots__ = (
        "_asks_for_mark",
        "_carrier",
        "_context",
        "_failures",
        "_feed",
        "_first",
        "_heartbeat_due",
        "_is_connected",
        "_is_current",
        "_is_over",
        "_is_told_why",
        "_judged",
        "_lacks_state",
        "_page_events",
        "_stream_id",
        "_told",
        "_waiter",
        "cursor",
        "expires_at",
        "is_leaving",
        "wire",
        "wire_state",
    )

    def __init__(
        self, context: ReaderContext, stream_id: str, cursor: EventId, *, wire: Wire, feed: Feed | None = None
    ) -> None:
        """A reader of a feed that covers its cursor, for which nothing has been read from Redis; or see `judged`."""
        self.wire = wire
        self.wire_state: WireState = None
        self.cursor = cursor
        self.is_leaving = False
        self.expires_at = context.readers.expiry(wire)
        self._context = context
        self._stream_id = stream_id
        self._feed = feed
        self._judged: reading.Judged | None = None
        self._first: Sequence[notices.Notice] = ()
        self._asks_for_mark = False
        self._carrier: Carrier | None = None
        self._is_connected = True
        self._is_current = False
        self._is_over = False
        self._is_told_why = False
        self._lacks_state = wire.has_state
        self._page_events = FIRST_PAGE_EVENTS
        # The number of the last frame that was told before: of the first bytes those are left out that end with it.
        self._told: int | None = None
        self._failures = 0
        self._waiter: asyncio.Future[None] | None = None
        self._heartbeat_due = False

    @classmethod
    def judged(
        cls,
        context: ReaderContext,
        judged: reading.Judged,
        *,
        wire: Wire,
        is_fresh: bool = False,
        left_out: notices.Gap | None = None,
        told: int | None = None,
    ) -> "Reader":
        """A reader at a cursor that Redis was asked about. A fresh one came without, and is told what it reads.

        If it is not to be told all of that, it learns what is `left_out`.

        On a wire with numbers it was `told` the frames up to one of them, which may be beyond its cursor.
        """
        reader = cls(context, judged.meta.id, judged.cursor, wire=wire)
        reader._judged = judged
        reader._told = told
        start = (notices.Start.of(judged.meta),) if is_fresh else ()
        reader._first = start if left_out is None else (*start, left_out)
        if reader._lacks_state and judged.cursor.position == START:
            reader.wire_state, reader._lacks_state = wire.begin(judged.meta), False
        return reader

    def __repr__(self) -> str:
        state = "live" if self._feed and self._feed.is_live(self) else "catching up"
        return f"<Reader {self._stream_id[:8]}… at {self.cursor.position} {state} {self.wire.name}>"

    @property
    def channel(self) -> Channel | None:
        wrap = self._carrier.wrap if self._carrier is not None else None
        # Whoever may have to leave something out of the next bytes cannot share them.
        return None if wrap is None or self._told is not None else Channel(self.wire, wrap)

    def mark_when_current(self) -> None:
        """Have the reader told, once, that it holds all there is."""
        self._asks_for_mark = True

    async def run(self, carrier: Carrier) -> None:
        """Serve the response body. Returns when it is complete; raises `Disconnected` if the reader left."""
        self._carrier = carrier
        context = self._context
        context.readers.attach(self)
        try:
            if self._feed is not None:
                self._feed = context.feeds.share(self, self._feed)
            elif self._judged is not None and not self._judged.meta.is_over:
                self._feed = context.feeds.follow(self, self._judged.meta, None)
                self._share(self._judged, self._feed)
            await self._open(carrier)
            while not self._is_over and not self.is_leaving:
                await self._advance(carrier)
                if self._is_current:
                    # Here a reader spends its life. Each coroutine further in would cost it a quarter of a kilobyte.
                    await self._stay(carrier)
            await (self._end(carrier) if self._is_over else self._say_goodbye(carrier))
        finally:
            context.readers.detach(self)
            context.feeds.unfollow(self, self._feed)

    # What the feed, the clock and the protocol call; never blocks.

    def write(self, wrapped: bytes) -> DirectSocket | None:
        if self._carrier is None or not self._is_connected:
            return None
        return self._carrier.write(wrapped)

    def heartbeat(self) -> None:
        """Keep a silent connection open. Only a live reader is silent; any other is being written to."""
        channel = self.channel
        if channel is not None and self._feed is not None and self._feed.is_live(self):
            self._feed.write(self, self._context.readers.heartbeat(channel))
        else:
            self._heartbeat_due = True
            self.wake()

    def stall(self) -> None:
        """The transport's buffer is full, or the peer is gone: stop writing until it has drained."""
        self._step_back()

    def disconnect(self) -> None:
        """The peer has gone, or is given up."""
        self._is_connected = False
        self._step_back()

    def abort(self) -> None:
        """Cut the connection now, whatever is on its way."""
        self.disconnect()
        if self._carrier is not None:
            self._carrier.abort()

    def leave(self) -> None:
        """Ask the reader to go elsewhere, at the next event boundary."""
        self.is_leaving = True
        self._step_back()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _step_back(self) -> None:
        """Not be live, and see what is to be done."""
        if self._feed is not None:
            self._feed.leave(self)
        self.wake()

    # The walk to the tail.

    def _share(self, judged: reading.Judged, feed: Feed) -> None:
        """Those who come back with us were cut where we were: let the feed have what we have read."""
        match judged.verdict:
            case Deliver(entries, is_cut=False):
                nonces = judged.meta.lineage.nonces
                feed.prepend(Batch(entries, nonces), nonces)

    async def _open(self, carrier: Carrier) -> None:
        opening = self.wire.opening(self._context.readers.retry_ms())
        if self._first:
            opening += b"".join([self.wire.notice(notice, self.wire_state) for notice in self._first])
            self._first = ()
            opening = self._untold(opening)
        await send_in_pieces(carrier, opening)

    async def _advance(self, carrier: Carrier) -> None:
        if self._heartbeat_due:
            self._heartbeat_due = False
            await carrier.send(self.wire.notice(notices.Heartbeat(), None))
        # A stalled carrier makes us wait here; whatever is decided below is then decided on what is true afterwards.
        await carrier.ready()
        if not self._is_connected:
            raise Disconnected
        feed = self._feed
        if feed is not None and feed.is_gone:
            await self._tell(carrier, notices.Gone())
        elif feed is not None and feed.covers(self.cursor):
            await (self._patiently(self._recall, carrier) if self._lacks_state else self._follow(feed, carrier))
        else:
            await self._patiently(self._step, carrier)

    async def _recall(self, carrier: Carrier) -> None:
        """Make the wire's state of the log before the cursor."""
        try:
            self.wire_state = await reading.state_at(self._context.store, self._stream_id, self.cursor, self.wire)
        except reading.PrefixTrimmed as trimmed:
            await self._skip(carrier, trimmed.to)
        else:
            self._lacks_state = False

    async def _follow(self, feed: Feed, carrier: Carrier) -> None:
        self._judged = None
        batch = feed.after(self.cursor.position.offset)
        if batch is not None:
            parcel = self._pack(batch)
            del batch
            await self._deliver(parcel, carrier)
            return
        self._is_over = feed.is_over
        if self._asks_for_mark and not feed.is_over:
            self._asks_for_mark = False
            await self._tell(carrier, notices.CaughtUp(self.cursor))
            return
        self._is_current = not feed.is_over

    async def _stay(self, carrier: Carrier) -> None:
        """Up to date: be live until something else than news happens."""
        self._is_current = False
        feed = self._feed
        if feed is None or self._has_to_do:
            return
        feed.join(self)
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
            feed.leave(self)

    async def _patiently(self, act: Callable[[Carrier], Awaitable[None]], carrier: Carrier) -> None:
        """Take the next step with Redis. While Redis cannot answer the reader is kept, not turned away."""
        try:
            await act(carrier)
        except StoreError as error:
            self._context.metrics.store_errors.labels(code=error.code).inc()
            if not error.retryable:
                logger.warning("a stream cannot be read: %s", error.message, extra={"stream": self._stream_id})
                raise Disconnected from error
            pause_s = growing_s(self._failures, first_s=_RETRY_FIRST_S, most_s=_RETRY_MOST_S)
            self._failures += 1
            await self._wait(jittered_s(pause_s))
        else:
            self._failures = 0

    async def _step(self, carrier: Carrier) -> None:
        judged, self._judged = self._judged, None
        if judged is None:
            judged = await self._look()
        if judged is None:
            await self._tell(carrier, notices.Gone())
            return
        if self._lacks_state and isinstance(judged.verdict, Deliver | UpToDate):
            self._judged = judged
            await self._recall(carrier)
            return
        match judged.verdict:
            case Deliver(entries, _, is_cut):
                wanted = len(entries) if is_cut else 2 * self._page_events
                self._page_events = min(max(wanted, reading.LEAST_EVENTS), _MOST_EVENTS)
                parcel = self._pack(Batch(entries, judged.meta.lineage.nonces))
                del judged, entries  # a reader that takes its time must not hold what it will not be sent
                await self._deliver(parcel, carrier)
            case UpToDate():
                await self._up_to_date(judged.meta)
            case Gap(to):
                await self._skip(carrier, to)
            case Reset(reason):
                await self._start_over(carrier, reason)
            case Renamed(cursor):
                self.cursor = cursor
            case Vanished():
                await self._tell(carrier, notices.Gone())

    async def _look(self) -> reading.Judged | None:
        snapshot = await self._context.store.read(self._stream_id, self.cursor.position, limit=self._page_events)
        return None if snapshot is None else reading.Judged.of(self.cursor, snapshot)

    def _pack(self, batch: Batch) -> Parcel:
        known = None
        if batch.events == 1 and batch.size_bytes > PAGE_BYTES:
            known = self._context.large_frames.find(self._name(self.cursor, batch.cursor))
        return Parcel.of(batch, self.cursor, self.wire, self.wire_state, known=known)

    async def _deliver(self, parcel: Parcel, carrier: Carrier) -> None:
        self.cursor, self.wire_state = parcel.end, parcel.state_after
        told_bytes = self._told_bytes(parcel.payload)
        if parcel.is_large:
            await self._send_large(carrier, parcel, told_bytes)
        else:
            await send_in_pieces(carrier, parcel.payload[told_bytes:])
        self._context.readers.delivered(self.wire, parcel.events)
        self._is_over = parcel.is_last

    def _untold(self, payload: bytes) -> bytes:
        return payload[self._told_bytes(payload) :]

    def _told_bytes(self, payload: bytes) -> int:
        """Return the length of the beginning that the reader was told before it came."""
        if self._told is None or not isinstance(self.wire, NumberedWire):
            return 0
        told_bytes = self.wire.told(payload, self._told)
        if told_bytes < len(payload):
            self._told = None
        return told_bytes

    async def _send_large(self, carrier: Carrier, parcel: Parcel, sent: int) -> None:
        """Between pieces the frame is the edge's, and if it drops it, made again."""
        frames, name = self._context.large_frames, self._name(parcel.start, parcel.end)
        size = len(parcel.payload)
        frames.keep(name, parcel.take())
        while sent < size:
            frame = frames.find(name)
            if frame is None:
                frame = await self._framed_again(parcel, size)
                frames.keep(name, frame)
            piece = frame[sent : sent + WRITE_BYTES]
            del frame
            await carrier.send(piece)
            sent += len(piece)

    def _name(self, start: EventId, end: EventId) -> FrameName:
        return FrameName(self._stream_id, start.position.offset, str(end), self.wire.name)

    async def _framed_again(self, parcel: Parcel, size: int) -> bytes:
        """The frame that was begun. If it cannot be made any more, only a cut can tell the reader so."""
        while self._is_connected:
            try:
                frame = await reading.frame_again(self._context.store, self._stream_id, self.wire, parcel)
            except StoreError as error:
                self._context.metrics.store_errors.labels(code=error.code).inc()
                if not error.retryable:
                    break
                await asyncio.sleep(jittered_s(_RETRY_MOST_S))
                continue
            if frame is None or len(frame) != size:
                break
            return frame
        raise Disconnected

    async def _up_to_date(self, meta: Meta) -> None:
        if meta.is_over:
            self._is_over = True
        elif self._feed is None or not self._context.feeds.is_followed(self._feed):
            # It had ended when we came, or ended here, and now goes on: Redis has lost the ending.
            self._feed = self._context.feeds.follow(self, meta, self._feed)
        elif not self._feed.covers(self.cursor):
            await self._wait()  # Redis was read a moment ahead of the shared tail, which will come by

    async def _skip(self, carrier: Carrier, to: EventId) -> None:
        self._context.metrics.gaps.inc()
        gap = notices.Gap(self.cursor, to)
        self.cursor = to
        await self._tell(carrier, gap)

    async def _start_over(self, carrier: Carrier, reason: ResetReason) -> None:
        if isinstance(self.wire, NumberedWire) and await self._restart(carrier, self.wire, reason):
            return
        message = await reading.message_so_far(self._context.store, self._stream_id)
        if message is None:
            await self._tell(carrier, notices.Gone())
            return
        self._context.metrics.resets.labels(reason=reason).inc()
        content, self.cursor = message
        self._lacks_state = self.wire.has_state
        payload = self._said(notices.Reset(reason, content.parts(), self.cursor))
        del message, content  # a reader that takes its time must not hold it twice
        await send_in_pieces(carrier, payload)

    async def _restart(self, carrier: Carrier, wire: NumberedWire, reason: ResetReason) -> bool:
        """Go on with the start of the log, if it has begun anew and the wire can tell so."""
        meta = await self._context.store.meta(self._stream_id)
        if meta is None or not meta.lineage.has_begun_anew_since(self.cursor.position.attempt):
            return False
        told = wire.restart(meta, self.wire_state)
        if told is None:
            return False
        self._context.metrics.resets.labels(reason=reason).inc()
        self.cursor, self.wire_state, self._lacks_state = EventId(START, None), self.wire.begin(meta), False
        self._told = None
        await send_in_pieces(carrier, told)
        return True

    async def _tell(self, carrier: Carrier, notice: notices.Notice) -> None:
        await send_in_pieces(carrier, self._said(notice))

    def _said(self, notice: notices.Notice) -> bytes:
        """The wire's words for a notice, which may be the last that the reader gets."""
        if type(notice) in self.wire.final:
            self._is_over = self._is_told_why = True
        try:
            return self.wire.notice(notice, self.wire_state)
        except Unsayable as unsayable:
            raise Disconnected from unsayable

    async def _end(self, carrier: Carrier) -> None:
        if isinstance(self.wire, NumberedWire):
            while not self._is_told_why:
                await self._patiently(self._conclude, carrier)
        elif not self._is_told_why:
            await send_in_pieces(carrier, self.wire.closing(self.wire_state))
        await carrier.end()

    async def _conclude(self, carrier: Carrier) -> None:
        """Tell the whole message once more."""
        if not self._is_connected or not isinstance(self.wire, NumberedWire):
            raise Disconnected
        conclusions, size_bytes = self._context.conclusions, self.cursor.position.offset
        await conclusions.send(
            carrier, self._stream_id, self.wire, self.wire_state, size_bytes=size_bytes, untold=self._untold
        )
        self._is_told_why = True

    async def _say_goodbye(self, carrier: Carrier) -> None:
        await self._tell(carrier, notices.Reconnect(self._context.readers.retry_ms()))
        await carrier.cut()

    @property
    def _has_to_do(self) -> bool:
        return not self._is_connected or self.is_leaving or self._heartbeat_due

    async def _wait(self, seconds: float | None = None) -> None:
        """Until woken, or for some seconds; not at all if something is to be done already."""
        if self._has_to_do:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(seconds):
                await self._waiter
        except TimeoutError:
            return
        finally:
            self._waiter = None
