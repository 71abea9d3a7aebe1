"""The readiness of this edge: asked by load balancers, and answered by trying."""

import logging
from typing import Final, NamedTuple

from shared.errors import StoreError
from shared.settings.settings import Settings
from shared.store.state import Server
from shared.store.store import Store

__all__ = ("Obstacle", "Readiness")

logger = logging.getLogger(__name__)

_EVICTS: Final = "The stream store may drop streams that are being read."
_TOO_OLD: Final = "The stream store is too old."


class Obstacle(NamedTuple):
    """The reason why an edge takes no readers: a code and a sentence for the client, and a reason for the log."""

    code: str
    text: str
    reason: str


class Readiness:
    """Looks at the store. A reason is logged when it is another one than the time before, not with each question."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._told: str | None = None

    async def obstacle(self) -> Obstacle | None:
        """Return the reason why this edge is not ready; None if it is."""
        found = await self._look()
        reason = found.reason if found else None
        if reason != self._told:
            self._told = reason
            if reason:
                logger.error("this edge takes no readers: %s", reason)
            else:
                logger.info("this edge takes readers again")
        return found

    async def _look(self) -> Obstacle | None:
        try:
            server = await self._store.server()
            found = self._look_at(server)
            if found is None:
                # A function is called for it, so that too is known to work.
                await self._store.prove("edge")
        except StoreError as error:
            return Obstacle(error.code, error.text, error.message)
        return found

    def _look_at(self, server: Server) -> Obstacle | None:
        version = server.version
        if version is not None and not version.is_enough:
            return Obstacle("store_too_old", _TOO_OLD, f"{version} is older than {version.oldest}")
        if server.evicts and not self._settings.allow_eviction:
            # Refused at the start; but Redis may have been down then, or been told otherwise since.
            return Obstacle("store_evicts", _EVICTS, f"Redis evicts keys (maxmemory-policy {server.policy})")
        return None
