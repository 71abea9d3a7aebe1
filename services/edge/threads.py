"""The stream that a thread is at: what a client of another API calls a chat, a thread or a run, and asks by."""

from services.edge.access.caller import Caller
from services.edge.access.rights import needs
from shared.log.keys import thread_name
from shared.settings.settings import Settings
from shared.store.store import Store

__all__ = ("Threads",)


class Threads:
    """Ids are the clients'. Each API of each tenant has its own, so whoever guesses one learns nothing by it."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._buckets = settings.buckets
        self._expires_ms = settings.retention.live_ms + settings.retention.retain_ms

    @needs("create")
    async def lead(
        self, caller: Caller, api: str, thread_id: str, stream_id: str, *, expires_ms: int | None = None
    ) -> None:
        """From now on the thread is at this stream, as long as that may be kept. Raises `StoreError`."""
        name = thread_name(caller.tenant, api, thread_id, buckets=self._buckets)
        await self._store.set_current(name, stream_id, expires_ms=expires_ms or self._expires_ms)

    @needs("read")
    async def current(self, caller: Caller, api: str, thread_id: str, *, expires_ms: int | None = None) -> str | None:
        """Return the id of the stream, which may have gone; None if the thread is at none. Raises `StoreError`."""
        name = thread_name(caller.tenant, api, thread_id, buckets=self._buckets)
        return await self._store.current(name, expires_ms=expires_ms or self._expires_ms)
