"""A response body that several readers share: each event says which stream it is of, and its id is a cursor for all."""

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Final

from services.edge.carriers.carrier import Carrier, Disconnected, Headers
from services.edge.carriers.uvicorn_protocol import DirectSocket
from services.edge.delivery.reader import Reader
from services.edge.wires.native import is_of_the_connection
from services.edge.wires.notices import Heartbeat, Reconnect
from services.edge.wires.sse import SSE
from services.edge.wires.wire import Wire
from shared.errors import TailraceError
from shared.log.events import json_line

__all__ = ("SeveralReaders",)

_ID: Final = re.compile(rb',"event_id":"([0-9]+-[0-9]+\.[0-9a-f]+)"\}\n\Z')
# The end of a line, with the id, is never longer than this.
_END_BYTES: Final = 96


class SeveralReaders:
    """Readers on NDJSON, whose lines are told on `wire`. `refusals` are of streams that cannot be read."""

    def __init__(
        self,
        wire: Wire,
        cursors: Sequence[str],
        readers: Mapping[int, Reader],
        refusals: Mapping[str, TailraceError],
        *,
        stream_ids: Sequence[str],
        retry_ms: int,
    ) -> None:
        self.wire = wire
        self.cursors = list(cursors)
        self.turn = asyncio.Lock()
        self.is_sent_away = False
        self._readers = readers
        self._refusals = refusals
        self._stream_ids = stream_ids
        self._retry_ms = retry_ms

    async def run(self, carrier: Carrier) -> None:
        """Serve the response body. Raises `Disconnected` if the client left, or one reader cannot go on."""
        opening = self.wire.opening(self._retry_ms)
        said = b"".join([self._refused(stream_id, refusal) for stream_id, refusal in self._refusals.items()])
        await carrier.send(opening + said)
        try:
            async with asyncio.TaskGroup() as group:
                for place, reader in self._readers.items():
                    group.create_task(reader.run(_Share(self, carrier, place, self._stream_ids[place])))
        except* Disconnected as left:
            raise left.exceptions[0] from None
        if self.is_sent_away:
            await carrier.send(self.wire.notice(Reconnect(self._retry_ms), None))
            await carrier.cut()
        else:
            await carrier.end()

    def send_away(self) -> None:
        """Have all readers leave, as one is to."""
        self.is_sent_away = True
        for reader in self._readers.values():
            if not reader.is_leaving:
                reader.leave()

    def stall(self) -> None:
        for reader in self._readers.values():
            reader.stall()

    def disconnect(self) -> None:
        for reader in self._readers.values():
            reader.disconnect()

    def _refused(self, stream_id: str, refusal: TailraceError) -> bytes:
        fields = {"code": refusal.code, "message": refusal.message, "retryable": refusal.retryable}
        data = json_line({"type": "error", **fields, "stream": stream_id})
        return b"data: %b\n\n" % data if self.wire is SSE else data + b"\n"


class _Share:
    """One reader's share of a connection. A line is told in one turn, however many pieces it comes in."""

    wrap = None

    def __init__(self, owner: SeveralReaders, carrier: Carrier, place: int, stream_id: str) -> None:
        self._owner = owner
        self._carrier = carrier
        self._place = place
        self._stream = b',"stream":"%b"' % stream_id.encode()
        self._held = b""
        self._is_in_line = False

    async def start(self, headers: Headers) -> None:
        """The head is everybody's."""

    async def ready(self) -> None:
        async with self._owner.turn:
            await self._carrier.ready()

    async def send(self, payload: bytes) -> None:
        for piece in payload.splitlines(keepends=True):
            if not self._is_in_line:
                if is_of_the_connection(piece):
                    await self._pass_on(piece)
                    continue
                await self._begin(piece)
            self._held += piece
            await (self._finish() if piece.endswith(b"\n") else self._go_on())

    async def _pass_on(self, line: bytes) -> None:
        if line.startswith(b'{"type":"heartbeat"'):
            async with self._owner.turn:
                await self._carrier.send(self._owner.wire.notice(Heartbeat(), None))

    async def _begin(self, piece: bytes) -> None:
        await self._owner.turn.acquire()
        self._is_in_line = True
        self._tag = b"" if piece.startswith(b'{"type":"start"') else self._stream
        self._held = b"data: " if self._owner.wire is SSE else b""

    async def _go_on(self) -> None:
        told, self._held = self._held[:-_END_BYTES], self._held[-_END_BYTES:]
        await self._carrier.send(told)

    async def _finish(self) -> None:
        owner, line = self._owner, self._held
        found = _ID.search(line)
        data = line[: found.start()] if found else line[:-2]
        if found:
            owner.cursors[self._place] = found[1].decode()
        cursor = ",".join(owner.cursors).encode() if found else b""
        if owner.wire is SSE:
            after = b"\nid: %b\n\n" % cursor if found else b"\n\n"
            await self._carrier.send(b"%b%b}%b" % (data, self._tag, after))
        else:
            after = b',"event_id":"%b"}\n' % cursor if found else b"}\n"
            await self._carrier.send(b"%b%b%b" % (data, self._tag, after))
        self._held, self._is_in_line = b"", False
        owner.turn.release()

    def write(self, wrapped: bytes) -> DirectSocket | None:
        raise RuntimeError("nobody writes past the turns")

    async def end(self) -> None:
        """The others go on."""

    async def cut(self) -> None:
        self._owner.send_away()

    def abort(self) -> None:
        self._carrier.abort()

    async def drop(self) -> None:
        """The connection is not this reader's."""

    def release(self) -> None:
        """Nothing is held."""
