"""The doctor's and the start's look at a cluster: as good as its worst master."""

from pathlib import Path
from typing import Any

from tests.cli.command import Said, say
from tests.support.redis_cluster import RedisCluster
from tests.support.service import ours

__all__ = ()


def by_check(said: Said) -> dict[str, dict[str, Any]]:
    return {line["check"]: line for line in said.lines}


async def test_every_master_is_looked_at(tmp_path: Path, cluster: RedisCluster, redis_url: str) -> None:
    environment = ours(redis_url=cluster.url, queue_url=redis_url)
    said = by_check(await say("doctor", "--load", cwd=tmp_path, environment=environment))
    assert "3 masters" in said["redis"]["detail"]
    for check in ("redis", "redis version", "eviction", "memory", "functions", "clock", "queue"):
        assert said[check]["status"] == "ok", said[check]
    await cluster.command(cluster.nodes[2], "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    try:
        said = by_check(await say("doctor", cwd=tmp_path, environment=environment))
        assert (said["eviction"]["status"], said["redis version"]["status"]) == ("failed", "ok")
        refused = await say("worker", cwd=tmp_path, environment=environment)
        assert refused.code != 0
        assert "allkeys-lru" in refused.out + refused.err
    finally:
        await cluster.command(cluster.nodes[2], "CONFIG", "SET", "maxmemory-policy", "noeviction")


async def test_the_queue_needs_a_redis_of_its_own(tmp_path: Path, cluster: RedisCluster) -> None:
    said = by_check(await say("doctor", cwd=tmp_path, environment=ours(redis_url=cluster.url)))
    assert said["configuration"]["status"] == "failed"
    assert "queue_url must name a single Redis" in said["configuration"]["detail"]
