"""The redis-cli session of docs/redis.md shows what an operator sees."""

import re
import shutil
import time
from collections.abc import Callable, Iterator

import pytest

from tests.conftest import missing
from tests.docs.broker import Broker, running_broker
from tests.docs.markdown import ROOT, Block, blocks
from tests.support.redis_server import RedisServer, ServerMissing, running_redis

__all__ = ()

PAGE = blocks(ROOT / "docs" / "redis.md")
FOLDED_S = 30


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    if shutil.which("redis-cli") is None:
        missing("no redis-cli on PATH")
    try:
        server = running_redis("redis7")
    except ServerMissing as reason:
        missing(str(reason))
    with server:
        yield server


def commands() -> list[tuple[Block, Block | None]]:
    """Each block of commands with the block of output that follows it."""
    following = [*PAGE[1:], Block("", "")]
    return [
        (block, output if output.language == "text" else None)
        for block, output in zip(PAGE, following, strict=True)
        if block.language == "sh"
    ]


def words(output: str) -> set[str]:
    """Names of fields, of kinds and of what XINFO tells; not what a model or a clock says."""
    cells = [cell for line in output.splitlines() for cell in re.split(r"\t| {2,}", line)]
    return {cell for cell in cells if re.fullmatch(r"[a-z]+([_:-][a-z0-9]+)*", cell)}


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + FOLDED_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)  # another process is at work; it can only be asked again


def lengths(broker: Broker, given: str) -> tuple[int, int]:
    """How many entries the log and the blocks have."""
    keys = (f'redis-cli XLEN "tailrace:{{$bucket}}:{kind}:$id"' for kind in ("stream", "blocks"))
    log, folded = broker.run([given + command for command in keys])
    return int(log), int(folded)


@pytest.mark.slow
def test_the_session_is_as_written(redis: RedisServer) -> None:
    (ask, _), *session = commands()
    end = next(number for number, (block, _) in enumerate(session) if ":blocks:" in block.text)
    with running_broker(redis) as broker:
        given = broker.run([f'{ask.text}echo "id=$id; bucket=$bucket;"'])[0]
        wait_for(lambda: lengths(broker, given)[0] >= 5)
        printed = broker.run([given + block.text for block, _ in session[:end]])
        wait_for(lambda: lengths(broker, given)[1] == 1)
        printed += broker.run([given + block.text for block, _ in session[end:]])
    assert len(session) == 8
    for (block, written), output in zip(session, printed, strict=True):
        assert output.strip(), block.text
        assert written is None or words(written.text) <= words(output), f"{block.text}{output}"
    assert 0 < int(printed[4]) <= 3600
