"""The cancel channel as a listener: pub/sub on a connection of its own."""

from redis.asyncio import Redis

from shared.errors import StoreUnavailable
from shared.keys import Keyspace
from shared.redis_errors import mapping

__all__ = ("RedisCancelListener",)

# Between two looks at whether the connection is still alive; Redis itself never speaks first.
_PING_S = 15.0


class RedisCancelListener:
    """`CancelListener` over SUBSCRIBE. Subscribes at the first `next`."""

    def __init__(self, client: "Redis", keys: Keyspace) -> None:
        self._pubsub = client.pubsub(ignore_subscribe_messages=True)
        self._channel = keys.cancels
        self._is_subscribed = False

    def __repr__(self) -> str:
        return f"<RedisCancelListener {self._channel}>"

    async def next(self) -> str:
        with mapping():
            if not self._is_subscribed:
                await self._pubsub.subscribe(self._channel)
                self._is_subscribed = True
            while True:
                message = await self._pubsub.get_message(timeout=_PING_S)
                if message is None:
                    await self._pubsub.ping()
                    continue
                if message["type"] == "message":
                    stream_id: str = message["data"].decode()
                    return stream_id
                if message["type"] not in {"pong", "subscribe"}:
                    raise StoreUnavailable("the cancel channel was closed")

    async def aclose(self) -> None:
        await self._pubsub.aclose()  # type: ignore[no-untyped-call]
