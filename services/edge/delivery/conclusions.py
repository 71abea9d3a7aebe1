"""The last words of wires that tell the whole message once more: made of the log, for all readers who are there.

A message can be 50 MiB, so those that are being made and sent are bounded, like the answers to requests for one.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from services.edge.access.byte_limiter import ByteLimiter
from services.edge.carriers.carrier import Carrier, Disconnected
from services.edge.delivery.parcel import send_in_pieces
from services.edge.wires.numbered import NumberedWire
from services.edge.wires.wire import WireState
from shared.errors import MemoryPressure
from shared.settings.settings import Settings
from shared.store.message import assemble
from shared.store.store import StreamReads

__all__ = ("Conclusions",)

# Whoever takes less than this holds up others.
_LEAST_BYTES_PER_S: Final = 256 * 1024
# The text, as it is told once more with its item, and with the response; and as it was read.
_COPIES: Final = 4


@dataclass(slots=True)
class _Shared:
    """The frames of one conclusion, and how many readers have them."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    resources: AsyncExitStack = field(default_factory=AsyncExitStack)
    frames: Sequence[bytes] | None = None
    is_made: bool = False
    readers: int = 0


class Conclusions:
    """Conclusions that are being sent. Each is made once for all readers of a stream on a wire."""

    def __init__(self, store: StreamReads, settings: Settings) -> None:
        self._store = store
        self._send_timeout_s = settings.send_timeout_s
        self._limiter = ByteLimiter(settings.edge_buffer_bytes)
        self._shared: dict[tuple[str, NumberedWire], _Shared] = {}

    def __repr__(self) -> str:
        return f"<Conclusions {len(self._shared)} being sent>"

    async def send(
        self,
        carrier: Carrier,
        stream_id: str,
        wire: NumberedWire,
        state: WireState,
        *,
        size_bytes: int,
        untold: Callable[[bytes], bytes],
    ) -> None:
        """Send what is `untold` of each frame. Raises `StoreError` before anything is sent.

        Raises `Disconnected` if there is nothing that this reader can be told: it may come back for the rest.
        """
        try:
            async with self._taken(stream_id, wire, state, size_bytes=size_bytes) as frames:
                if frames is None:
                    raise Disconnected
                for frame in frames:
                    await send_in_pieces(carrier, untold(frame))
        except (MemoryPressure, TimeoutError) as error:
            raise Disconnected from error

    @asynccontextmanager
    async def _taken(
        self, stream_id: str, wire: NumberedWire, state: WireState, *, size_bytes: int
    ) -> AsyncIterator[Sequence[bytes] | None]:
        """Hold the frames while they are sent; None if the stream is gone, or is not what made the state."""
        name = (stream_id, wire)
        shared = self._shared.setdefault(name, _Shared())
        shared.readers += 1
        try:
            async with shared.lock:
                if not shared.is_made:
                    await shared.resources.enter_async_context(self._limiter.taken(_COPIES * size_bytes))
                    shared.frames = await self._made(stream_id, wire, state)
                    shared.is_made = True
            async with asyncio.timeout(self._send_timeout_s + size_bytes / _LEAST_BYTES_PER_S):
                yield shared.frames
        finally:
            shared.readers -= 1
            if not shared.readers:
                del self._shared[name]
                await shared.resources.aclose()

    async def _made(self, stream_id: str, wire: NumberedWire, state: WireState) -> Sequence[bytes] | None:
        whole = await assemble(self._store, stream_id)
        frames = wire.conclusion(whole, state) if whole is not None else None
        return None if frames is None else list(frames)
