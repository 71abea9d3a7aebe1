"""A user of Redis whose rights a test takes away and gives back."""

from typing import Any, Final, cast

from redis.asyncio import Redis

from tests.support.redis_server import RedisServer

__all__ = ("PREFIX", "RestrictedUser")

PREFIX: Final = "tailrace"
# The least that runs edges and workers, as docs/deploy.md has it.
LEAST: Final = """
    blpop client|id client|setname client|unblock dbsize del exec exists expire fcall function|list
    function|load get hdel hello hget hgetall hincrby hkeys hmget hset hsetnx hstrlen incrby info lpush ltrim
    memory|usage multi pexpire pexpireat pexpiretime ping psetex pttl publish set strlen subscribe time
    unsubscribe unwatch watch xadd xdel xrange xread xrevrange xtrim zadd zcard zrange zrangebyscore zrem
    zrevrange zrevrangebyscore zscore
""".split()  # noqa: SIM905


class RestrictedUser:
    """User `app` of a server, and the operator who says what it may."""

    def __init__(self, server: RedisServer) -> None:
        self.url = f"redis://app:word@127.0.0.1:{server.port}/0"
        self._port = server.port

    async def grant(self, *, without: tuple[str, ...] = (), password: str = "word") -> None:
        """All that is needed, but for this."""
        rights = [f"+{right}" for right in LEAST if right not in without]
        keys = (f"~{PREFIX}:*", "~arq:*", f"&{PREFIX}:*")
        await self._say("ACL", "SETUSER", "app", "reset", "on", f">{password}", *keys, "-@all", *rights)

    async def hang_up(self) -> None:
        """Who is connected has to say again who it is."""
        await self._say("CLIENT", "KILL", "USER", "app")

    async def _say(self, *words: str) -> Any:
        operator = Redis(port=self._port)
        try:
            return await cast("Any", operator).execute_command(*words)
        finally:
            await operator.aclose()
