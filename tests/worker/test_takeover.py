"""Streams whose worker or provider dies half-way: the text is whole in the end, and says where it was taken up."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from shared.log.events import CANCELLED
from shared.log.keys import Keyspace
from shared.store.calls import Interruption
from shared.store.redis.store import RedisStore
from shared.store.replies import Cancelling
from tests.support.pulling import FAST, Pulling, key, pulling
from tests.support.script import Fault, Script, expected
from tests.support.streams import RETENTION

__all__ = ()


@pytest.fixture
async def two_workers(store: RedisStore, redis_url: str, keys: Keyspace) -> AsyncIterator[Pulling]:
    """Two workers, one provider that continues a prefilled answer."""
    async with pulling(store, redis_url, keys) as pulls:
        yield pulls


async def test_a_killed_worker_s_stream_is_continued_by_another(two_workers: Pulling) -> None:
    script = Script(key(), chunks=300, rate=250)
    stream_id = await two_workers.create(script)
    before = await two_workers.until_tail(stream_id, 300)

    two_workers.worker_of(before).kill()
    after = await two_workers.until_over(stream_id)

    assert after.status == "done"
    assert await two_workers.parts(stream_id) == expected(script)
    assert [fence.reason for fence in after.fences] == ["start", "takeover"]
    assert after.fences[1].keep >= before.tail
    assert after.worker != before.worker


@pytest.mark.parametrize(("interruption", "reason"), [("continue", "takeover"), ("fail", "error")])
async def test_a_late_job_of_its_start_takes_over_as_well(
    store: RedisStore, redis_url: str, keys: Keyspace, interruption: Interruption, reason: str
) -> None:
    """A job to begin may be put again, or come back, when the stream has begun: what was said is not thrown away."""
    async with pulling(store, redis_url, keys, workers=1, sweep_s=60) as pulls:
        script = Script(key(), chunks=200, rate=250)
        stream_id = await pulls.create(script, interruption=interruption)
        before = await pulls.until_tail(stream_id, 300)
        pulls.workers[0].kill()
        await pulls.dispatcher.dispatch(stream_id, tenant="public")
        await asyncio.sleep(FAST["lease_s"])
        pulls.workers[0].launch()
        after = await pulls.until_over(stream_id)
        parts = await pulls.parts(stream_id)

    assert [fence.reason for fence in after.fences] == ["start", reason]
    assert after.fences[1].keep >= before.tail
    assert (after.status == "done", parts == expected(script)) == (reason == "takeover", reason == "takeover")


@pytest.mark.parametrize(
    ("options", "is_told", "ending"),
    [({}, True, "done"), ({"response_format": {"type": "json_object"}}, True, "error"), ({}, False, "done")],
    ids=["taken up", "would have to begin anew", "nothing was said"],
)
async def test_what_cannot_be_unsaid_is_continued_or_fails(
    two_workers: Pulling, options: dict[str, object], is_told: bool, ending: str
) -> None:
    # Nothing is said when the first piece comes after a second.
    script = Script(key(), chunks=200, rate=250) if is_told else Script(key(), chunks=2, rate=1)
    body = {"model": "scripted", "messages": script.messages(), **options}
    stream_id = await two_workers.ask(body, interruption="continue_or_fail")
    await two_workers.until_running(stream_id)
    before = await two_workers.until_tail(stream_id, 300 if is_told else 0)
    two_workers.worker_of(before).kill()
    after = await two_workers.until_over(stream_id)

    assert after.status == ending
    assert [fence.reason for fence in after.fences] == ["start", "error" if ending == "error" else "takeover"]
    if ending == "done":
        assert await two_workers.parts(stream_id) == expected(script)


async def test_usage_is_settled_over_attempts(two_workers: Pulling) -> None:
    stream_id = await two_workers.create(Script(key(), chunks=200, rate=250))
    two_workers.worker_of(await two_workers.until_tail(stream_id, 300)).kill()

    usage = (await two_workers.until_over(stream_id)).usage

    assert usage is not None
    assert usage["complete"] is False  # the first provider call was paid for, and nobody said how much
    first, second = usage["attempts"]
    assert first["output_bytes"] >= 300
    assert second["output_tokens"] == usage["output_tokens"]


async def test_a_stream_that_is_to_restart_starts_over(two_workers: Pulling) -> None:
    script = Script(key(), chunks=200, rate=250, vary=True)
    stream_id = await two_workers.create(script, interruption="restart")
    two_workers.worker_of(await two_workers.until_tail(stream_id, 300)).kill()

    meta = await two_workers.until_over(stream_id)

    assert meta.fences[1].keep == 0
    assert await two_workers.parts(stream_id) == expected(script, attempt=1)


async def test_a_stream_that_is_to_fail_fails(two_workers: Pulling) -> None:
    stream_id = await two_workers.create(Script(key(), chunks=500, rate=250), interruption="fail")
    two_workers.worker_of(await two_workers.until_tail(stream_id, 300)).kill()

    meta = await two_workers.until_over(stream_id)

    assert meta.status == "error"
    assert meta.error is not None
    assert meta.error["code"] == "worker_lost"


async def test_an_answer_inside_of_a_half_written_tool_call_starts_over(two_workers: Pulling) -> None:
    script = Script(key(), chunks=300, rate=250, kinds="mixed")
    reasoning, text, _ = (len(part.encode()) for _, part in expected(script))
    stream_id = await two_workers.create(script)
    two_workers.worker_of(await two_workers.until_tail(stream_id, reasoning + text + 50)).kill()

    meta = await two_workers.until_over(stream_id)

    assert meta.fences[1].keep == 0
    assert await two_workers.parts(stream_id) == expected(script)


async def test_a_stream_whose_workers_keep_dying_ends(store: RedisStore, redis_url: str, keys: Keyspace) -> None:
    async with pulling(store, redis_url, keys, workers=3, max_attempts=2) as pulls:
        stream_id = await pulls.create(Script(key(), chunks=1000, rate=250))
        for grown in (200, 600):
            pulls.worker_of(await pulls.until_tail(stream_id, grown)).kill()

        meta = await pulls.until_over(stream_id)

    assert meta.status == "error"
    assert meta.error is not None
    assert meta.error["code"] == "worker_crash_loop"


@pytest.mark.parametrize("after", [0, 7])
async def test_what_is_malformed_is_not_asked_for_again(two_workers: Pulling, after: int) -> None:
    """The provider is paid for each try, and what is malformed by nature is so again."""
    script = Script(key(), chunks=20, fault=Fault("malformed", after=after))
    meta = await two_workers.until_over(await two_workers.create(script))

    assert meta.error is not None
    assert meta.error["code"] == "provider_malformed"
    assert [len(provider.seen()) for provider in two_workers.providers] == [1]


async def test_a_stopped_worker_hands_its_streams_over(store: RedisStore, redis_url: str, keys: Keyspace) -> None:
    async with pulling(store, redis_url, keys, worker_drain_s=0.5, lease_s=60, heartbeat_s=5) as pulls:
        script = Script(key(), chunks=300, rate=250)
        stream_id = await pulls.create(script)
        before = await pulls.until_tail(stream_id, 200)

        assert pulls.worker_of(before).terminate() == 0
        after = await pulls.until_over(stream_id)  # long before the lease would have run out

    assert after.status == "done"
    assert len(after.fences) == 2


async def test_a_provider_that_is_cut_is_continued_by_the_next(
    store: RedisStore, redis_url: str, keys: Keyspace
) -> None:
    async with pulling(store, redis_url, keys, workers=1, continuations=["none", "message"]) as pulls:
        script = Script(key(), chunks=200, rate=500, repeat=20, fault=Fault("cut", after=80, times=1))
        stream_id = await pulls.create(script)

        meta = await pulls.until_over(stream_id)
        parts = await pulls.parts(stream_id)

    assert meta.status == "done"
    assert parts == expected(script)
    assert [fence.reason for fence in meta.fences] == ["start", "provider", "provider"]


async def test_a_provider_that_refuses_is_replaced_unseen(store: RedisStore, redis_url: str, keys: Keyspace) -> None:
    async with pulling(store, redis_url, keys, workers=1, continuations=["none", "none"]) as pulls:
        pulls.providers[0].kill()
        script = Script(key(), chunks=50)
        stream_id = await pulls.create(script)

        meta = await pulls.until_over(stream_id)
        parts = await pulls.parts(stream_id)

    assert parts == expected(script)
    assert meta.provider == "provider-1"
    assert len(meta.fences) == 1


async def test_a_cancel_reaches_a_silent_provider_at_once(two_workers: Pulling) -> None:
    script = Script(key(), chunks=200, fault=Fault("silence", after=20))
    stream_id = await two_workers.create(script)
    before = await two_workers.until_tail(stream_id, 1)
    reply = await two_workers.store.cancel(stream_id, attempt=None, nonce="ab" * 4, retention=RETENTION)

    after = await two_workers.until_over(stream_id, within_s=1.0)

    assert reply == Cancelling()
    assert after.status == CANCELLED.kind
    assert after.tail >= before.tail


async def test_a_cancelled_stream_whose_worker_died_keeps_its_text(two_workers: Pulling) -> None:
    script = Script(key(), chunks=2000, rate=250)
    stream_id = await two_workers.create(script)
    worker = two_workers.worker_of(await two_workers.until_tail(stream_id, 200))
    worker.kill()
    await two_workers.store.cancel(stream_id, attempt=None, nonce="ab" * 4, retention=RETENTION)

    meta = await two_workers.until_over(stream_id)
    ((kind, text),) = await two_workers.parts(stream_id)

    assert meta.status == "cancelled"
    assert (kind, expected(script)[0][1].startswith(text)) == ("text", True)
    assert meta.tail > 200
