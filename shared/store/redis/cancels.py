"""The cancel channel as a listener: pub/sub on a connection of its own."""

from redis.asyncio import Redis

from shared.errors import StoreUnavailable
from shared.log.keys import Keyspace
from shared.store.redis.errors import mapping

__all__ = ("RedisCancelListener",)

# Redis never speaks first, so after this long the connection may be dead, or its node may be a replica that hears of
# nothing. To who has subscribed it does not name its role, so the channel is opened anew. What is announced in that
# millisecond is found with the next heartbeat.
_SILENCE_S = 15.0


class RedisCancelListener:
    """`CancelListener` over SUBSCRIBE. Subscribes at the first `next`."""

    def __init__(self, client: "Redis", keys: Keyspace, *, silence_s: float = _SILENCE_S) -> None:
        self._pubsub = client.pubsub()
        self._channel = keys.cancels
        self._silence_s = silence_s
        self._is_subscribed = False

    def __repr__(self) -> str:
        return f"<RedisCancelListener {self._channel}>"

    async def next(self) -> str:
        with mapping():
            while True:
                await self._subscribe()
                message = await self._pubsub.get_message(timeout=self._silence_s)
                if message is None:
                    await self.aclose()
                elif message["type"] == "message":
                    stream_id: str = message["data"].decode()
                    return stream_id
                elif message["type"] != "subscribe":
                    raise StoreUnavailable("the cancel channel was closed")

    async def aclose(self) -> None:
        self._is_subscribed = False
        await self._pubsub.aclose()  # type: ignore[no-untyped-call]

    async def _subscribe(self) -> None:
        if not self._is_subscribed:
            await self._pubsub.subscribe(self._channel)
            self._is_subscribed = True
