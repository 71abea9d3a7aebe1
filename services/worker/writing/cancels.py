"""Stops that arrive at once. The cancel flag in meta is the truth and comes with every append and heartbeat; this
channel only saves a silent stream the wait for the next heartbeat, so a lost message costs seconds, not the stop.
"""

import asyncio
import logging

from services.worker.writing.writer import Writer
from shared.backoff import jittered_s
from shared.errors import StoreError
from shared.store.store import StreamWrites

__all__ = ("Cancels",)

logger = logging.getLogger(__name__)

_RETRY_S = 1.0


class Cancels:
    """Listens until cancelled, and stops the writers it has been given."""

    def __init__(self, store: StreamWrites) -> None:
        self._store = store
        self._writers: dict[str, Writer] = {}

    def __repr__(self) -> str:
        return f"<Cancels streams={len(self._writers)}>"

    def add(self, writer: Writer) -> None:
        self._writers[writer.id] = writer

    def remove(self, writer: Writer) -> None:
        if self._writers.get(writer.id) is writer:
            del self._writers[writer.id]

    async def run(self) -> None:
        while True:
            listener = self._store.cancellations()
            try:
                while True:
                    writer = self._writers.get(await listener.next())
                    if writer is not None:
                        writer.stop()
            except StoreError as error:
                logger.debug("cancel channel lost: %s", error)
                await asyncio.sleep(jittered_s(_RETRY_S))
            finally:
                await listener.aclose()
