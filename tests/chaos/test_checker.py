"""The checker finds what is broken, and nothing where nothing is: a check that cannot fail would be a defect."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.checker import Limits, check
from tests.chaos.log import FinalLog
from tests.chaos.oracle import Oracle
from tests.chaos.stories import CONTINUED, Story, good_story
from tests.chaos.view import Known
from tests.support.history import (
    Created,
    Evicted,
    History,
    Left,
    Logged,
    Opened,
    Received,
    Record,
    Refused,
    Removed,
    Struck,
    load,
)
from tests.support.script import piece

__all__ = ()

Breakage = Callable[[Story], object]

_S = 1_000_000_000


def received(story: Story, index: int) -> Received:
    record = story.records[index]
    assert isinstance(record, Received)
    return record


def logged(story: Story, stream: str) -> Logged:
    record = story.records[story.log_of(stream)]
    assert isinstance(record, Logged)
    return record


def change_log(story: Story, stream: str, **fields: object) -> None:
    story.change(story.log_of(stream), **fields)


def say(story: Story, reader: str, number: int, text: str) -> None:
    """Put another text into the event of a reader; it is as long as the old one."""
    index = story.of(reader)[number]
    delta = received(story, index).data["delta"]
    assert len(text) == len(delta)
    story.change(index, data={"type": "text", "delta": text})


def other_text(story: Story, reader: str, number: int) -> str:
    """As long as the text of an event, but not it."""
    delta: str = received(story, story.of(reader)[number]).data["delta"]
    return delta[:-1] + ("0" if delta[-1] != "0" else "1")


def dropped(story: Story) -> None:
    del story.records[story.of("late")[3]]


def doubled(story: Story) -> None:
    index = story.of("late")[3]
    story.records.insert(index, story.records[index])


def swapped(story: Story) -> None:
    one, two = story.of("late")[3:5]
    story.records[one], story.records[two] = story.records[two], story.records[one]


def altered_for_one(story: Story) -> None:
    say(story, "late", 3, other_text(story, "late", 3))


def altered_for_the_only_one(story: Story) -> None:
    say(story, "witness", 6, other_text(story, "witness", 6))


def altered_in_the_log(story: Story) -> None:
    log = logged(story, "s2")
    attempt, offset, data = log.entries[3]
    entries = [*log.entries]
    entries[3] = (attempt, offset, data | {"delta": "x" * len(data["delta"].encode())})
    change_log(story, "s2", entries=entries)


def cut_in_a_character(story: Story) -> None:
    index = story.of("late")[3]
    delta = received(story, index).data["delta"]
    story.change(index, data={"type": "text", "delta": delta[1:]})


def id_left_out(story: Story) -> None:
    story.change(story.of("late")[3], id=None)


def hole_in_the_log(story: Story) -> None:
    entries = [*logged(story, "s1").entries]
    del entries[3]
    change_log(story, "s1", entries=entries)


def log_longer_than_its_tail(story: Story) -> None:
    change_log(story, "s1", tail=logged(story, "s1").tail + 5)


def good_cursor_refused(story: Story) -> None:
    story.records.insert(story.of("late")[3], Refused(0, "late", "s1", "e1", 400, "invalid_cursor"))


def edge_broke(story: Story) -> None:
    story.records.insert(story.of("late")[3], Refused(0, "late", "s1", "e1", 500, "internal"))


def reader_holds_less_than_the_log(story: Story) -> None:
    """Its last event has the right id, but part of the text before it went missing with its size."""
    entries = [*logged(story, "s2").entries]
    attempt, offset, data = entries[2]
    entries[2] = (attempt, offset, data | {"delta": data["delta"][::-1]})
    change_log(story, "s2", entries=entries)


def usage_differs(story: Story) -> None:
    index = story.of("late")[-2]
    story.change(index, data=received(story, index).data | {"output": 99})


def id_with_two_payloads(story: Story) -> None:
    """Two readers of one log, and the same id means different texts to them."""
    say(story, "behind", 1, other_text(story, "behind", 1))


def reset_with_other_parts(story: Story) -> None:
    index = next(i for i in story.of("ahead") if received(story, i).data["type"] == "reset")
    parts = received(story, index).data["parts"]
    text = parts[0]["text"]
    story.change(index, data=received(story, index).data | {"parts": [{"type": "text", "text": text[:-1] + "?"}]})


def joined_without_a_reset(story: Story) -> None:
    """The old attempt's text is continued by the new one, from the same offset, and nobody said so."""
    index = next(i for i in story.of("witness") if received(story, i).data["type"] == "reset")
    del story.records[index]
    following = [i for i in story.of("witness") if i >= index]
    offset = 4 * 0 + int(received(story, index - 1).id.split("-")[1].split(".")[0])  # type: ignore[union-attr]
    for i in following:
        record = received(story, i)
        assert record.id is not None
        attempt, _, rest = record.id.partition("-")
        old, _, nonce = rest.partition(".")
        story.change(i, id=f"{attempt}-{int(old) + offset}.{nonce}")


def reset_left_out(story: Story) -> None:
    """A reader beyond the fence simply goes on in the new attempt."""
    index = next(i for i in story.of("ahead") if received(story, i).data["type"] == "reset")
    cut = [i for i in story.of("ahead") if i < index][-1]
    del story.records[index]
    held = int(received(story, cut).id.split("-")[1].split(".")[0])  # type: ignore[union-attr]
    for i in [i for i in story.of("ahead") if i > cut][::-1]:
        if int(received(story, i).id.split("-")[1].split(".")[0]) <= held:  # type: ignore[union-attr]
            del story.records[i]


def zombie_spoke(story: Story) -> None:
    """The first attempt goes on after the second has begun."""
    index = story.of("late")[8]
    record = received(story, index)
    assert record.id is not None
    story.change(index, id=record.id.replace("2-", "1-", 1).replace("bbbbbbb2", "aaaaaaa1"))


def zombie_wrote(story: Story) -> None:
    entries = [
        (1 if n == 9 else attempt, end, data) for n, (attempt, end, data) in enumerate(logged(story, "s1").entries)
    ]
    change_log(story, "s1", entries=entries)


def late_chunk_of_the_old_attempt(story: Story) -> None:
    """A reader is sent what the second attempt had thrown away, long after it had done so."""
    ahead = story.of("ahead")
    beyond = received(story, ahead[5])
    later = [replace(received(story, i), reader="slow", at_ns=60_000_000_000) for i in ahead[:6]]
    assert beyond.data["type"] == "text"
    story.records += [Opened(1, "slow", "s1", "e2", None), *later, Left(2, "slow", "s1", "gone"), Removed(0, "s1")]


def two_writers_of_one_attempt(story: Story) -> None:
    for index in story.of("late")[8:]:
        record = received(story, index)
        assert record.id is not None
        story.change(index, id=record.id.replace("bbbbbbb2", "ccccccc3"))


def terminal_missing(story: Story) -> None:
    log = logged(story, "s1")
    change_log(story, "s1", entries=log.entries[:-1], tail=log.tail - 1)


def two_terminals(story: Story) -> None:
    log = logged(story, "s1")
    attempt, offset, _ = log.entries[-1]
    twice = (attempt, offset + 1, {"type": "done", "finish_reason": "stop"})
    change_log(story, "s1", entries=[*log.entries, twice], tail=log.tail + 1)


def other_terminal_than_its_status(story: Story) -> None:
    change_log(story, "s1", status="error")


def event_after_the_terminal(story: Story) -> None:
    index = story.of("late")[-1]
    record = received(story, index)
    assert record.id is not None
    attempt, _, rest = record.id.partition("-")
    offset, _, nonce = rest.partition(".")
    after = replace(record, id=f"{attempt}-{int(offset) + 3}.{nonce}", data={"type": "text", "delta": " on"})
    story.records.insert(index + 1, after)


def two_terminals_to_a_reader(story: Story) -> None:
    index = story.of("late")[-1]
    story.records.insert(index + 1, story.records[index])


def came_back_after_the_end(story: Story) -> None:
    index = story.of("late")[-1]
    story.records.insert(index + 1, Opened(0, "late", "s1", "e1", received(story, index).id))


def silent_loss(story: Story) -> None:
    """A failover lost what the reader had; another writer wrote something of the same length, and it was not told."""
    for index in story.of("late")[3:5]:
        record = received(story, index)
        assert record.id is not None
        story.change(index, id=record.id.replace("aaaaaaa1", "ddddddd4"))
        story.change(index, data={"type": "text", "delta": "?" * len(record.data["delta"].encode())})
    story.records.append(Struck(0, "row_07", took_effect=True, loses=True))


def end_of_a_log_that_is_not_kept(story: Story) -> None:
    """The reader was told `done`; the log at the end has never heard of it."""
    index = story.of("witness")[-1]
    record = received(story, index)
    assert record.id is not None
    story.change(index, id=record.id.replace("bbbbbbb2", "ddddddd4"), data=record.data)
    change_log(story, "s2", tail=logged(story, "s2").tail - 1, entries=logged(story, "s2").entries[:-1])


def gone_for_no_reason(story: Story) -> None:
    index = story.of("late")[3]
    gone = {"type": "error", "code": "stream_gone", "message": "", "retryable": False}
    story.change(index, id=None, data=gone)
    del story.records[index + 1 : story.of("late")[-1] + 1]


def stream_lost_by_the_store(story: Story) -> None:
    story.records[story.log_of("s1")] = Logged(0, "s1")


def failover(story: Story, began_s: float, over_s: float) -> None:
    """The story happens within its first second."""
    began_ns, over_ns = round(began_s * _S), round(over_s * _S)
    story.records.append(Struck(over_ns, "row_06", took_effect=True, loses=True, began_ns=began_ns))


def later(story: Story, reader: str, by_s: float) -> None:
    """All that one reader sees happens so much later."""
    for index, record in enumerate(story.records):
        if isinstance(record, Opened | Received | Left) and record.reader == reader:
            story.change(index, at_ns=record.at_ns + round(by_s * _S))


def gone_between_two_failovers(story: Story) -> None:
    """The stream is there in the end, and there was one master only when the reader was told that it is not."""
    gone_for_no_reason(story)
    later(story, "late", 20)
    failover(story, 1, 3)
    failover(story, 40, 43)


def gone_before_the_failover_that_took_it(story: Story) -> None:
    gone_for_no_reason(story)
    failover(story, 40, 43)
    stream_lost_by_the_store(story)


def lost_though_asked_for_after_the_failover(story: Story) -> None:
    failover(story, 1, 3)
    stream_lost_by_the_store(story)
    created = next(i for i, r in enumerate(story.records) if isinstance(r, Created) and r.stream == "s1")
    story.change(created, at_ns=20 * _S, asked_ns=19 * _S)


def end_lost_long_after_it_was_read(story: Story) -> None:
    """A failover, but what it took had been replicated half a minute before."""
    end_of_a_log_that_is_not_kept(story)
    failover(story, 30, 33)


def end_lost_long_before_it_was_read(story: Story) -> None:
    end_of_a_log_that_is_not_kept(story)
    failover(story, 1, 3)
    later(story, "witness", 30)


def evicted(story: Story, at_s: float) -> None:
    """Redis is full from the tenth second to the thirteenth."""
    stream_lost_by_the_store(story)
    full = Struck(13 * _S, "row_12", took_effect=True, began_ns=10 * _S, fills=True)
    story.records += [full, Evicted(round(at_s * _S), "s1")]


def evicted_though_there_was_room(story: Story) -> None:
    evicted(story, 5)


def evicted_while_it_lived(story: Story) -> None:
    evicted(story, 11)
    for reader in ("ahead", "behind", "late"):
        del story.records[story.of(reader)[-1]]
        index = next(i for i, r in enumerate(story.records) if isinstance(r, Left) and r.reader == reader)
        story.change(index, outcome="gone")


def gone_before_it_was_evicted(story: Story) -> None:
    gone_for_no_reason(story)
    evicted(story, 11)


def gap_not_told(story: Story) -> None:
    """The log was trimmed under a reader, which is sent what follows as if nothing had been there."""
    log = logged(story, "s1")
    trimmed = log.entries[6][1]
    change_log(story, "s1", trimmed=trimmed, entries=[entry for entry in log.entries if entry[1] > trimmed])
    del story.records[story.of("late")[4]]


def gap_told_for_no_reason(story: Story) -> None:
    one, two = story.of("late")[3:5]
    record = received(story, two)
    gap = {"type": "gap", "from": received(story, one - 1).id, "to": record.id, "reason": "trimmed"}
    story.records[two] = replace(record, data=gap)
    del story.records[one]


def foreign_bytes(story: Story) -> None:
    """A reader of one stream is sent what another stream's provider said, under ids of its own."""
    offset = 0
    for k, index in enumerate(story.of("witness")[5:-2]):
        text = piece(CONTINUED.key, k, 0)
        offset += len(text.encode())
        story.change(index, id=f"2-{offset}.bbbbbbb2", data={"type": "text", "delta": text})


def text_cut_short(story: Story) -> None:
    """Everybody agrees on an answer that is not whole."""
    log = logged(story, "s2")
    missing = log.entries[-3]
    size = len(missing[2]["delta"].encode())
    kept = [*log.entries[:-3], *((a, end - size, data) for a, end, data in log.entries[-2:])]
    change_log(story, "s2", entries=kept, tail=log.tail - size)
    usage, done = story.of("witness")[-2:]
    for index in (usage, done):
        record = received(story, index)
        assert record.id is not None
        attempt, _, rest = record.id.partition("-")
        offset, _, nonce = rest.partition(".")
        story.change(index, id=f"{attempt}-{int(offset) - size}.{nonce}")
    del story.records[usage - 1]


def reader_never_ends(story: Story) -> None:
    story.records[:] = [r for r in story.records if not (isinstance(r, Left) and r.reader == "late")]


def reader_gave_up(story: Story) -> None:
    index = next(i for i, r in enumerate(story.records) if isinstance(r, Left) and r.reader == "late")
    story.change(index, outcome="gave up")
    del story.records[story.of("late")[-1]]


def stream_never_ends(story: Story) -> None:
    log = logged(story, "s2")
    change_log(story, "s2", status="running", entries=log.entries[:-1], tail=log.tail - 1)


BROKEN: list[tuple[Breakage, int]] = [
    (dropped, 1),
    (doubled, 1),
    (swapped, 1),
    (cut_in_a_character, 1),
    (id_left_out, 1),
    (hole_in_the_log, 1),
    (log_longer_than_its_tail, 1),
    (good_cursor_refused, 1),
    (edge_broke, 1),
    (reader_holds_less_than_the_log, 1),
    (altered_in_the_log, 1),
    (gap_not_told, 1),
    (altered_for_one, 2),
    (usage_differs, 2),
    (id_with_two_payloads, 2),
    (reset_with_other_parts, 2),
    (altered_for_the_only_one, 3),
    (joined_without_a_reset, 3),
    (reset_left_out, 3),
    (text_cut_short, 3),
    (zombie_spoke, 4),
    (zombie_wrote, 4),
    (late_chunk_of_the_old_attempt, 4),
    (two_writers_of_one_attempt, 4),
    (terminal_missing, 5),
    (two_terminals, 5),
    (other_terminal_than_its_status, 5),
    (event_after_the_terminal, 5),
    (two_terminals_to_a_reader, 5),
    (came_back_after_the_end, 5),
    (silent_loss, 6),
    (end_of_a_log_that_is_not_kept, 6),
    (gone_for_no_reason, 6),
    (stream_lost_by_the_store, 6),
    (gone_between_two_failovers, 6),
    (evicted_though_there_was_room, 6),
    (evicted_while_it_lived, 6),
    (gone_before_it_was_evicted, 6),
    (gone_before_the_failover_that_took_it, 6),
    (lost_though_asked_for_after_the_failover, 6),
    (end_lost_long_after_it_was_read, 6),
    (end_lost_long_before_it_was_read, 6),
    (gap_told_for_no_reason, 6),
    (foreign_bytes, 7),
    (reader_never_ends, 12),
    (reader_gave_up, 12),
    (stream_never_ends, 12),
]


def test_a_good_history_breaks_no_promise() -> None:
    report = check(good_story().records, Limits(resume_s=1, stall_s=1))
    assert report.violations == []
    assert (report.streams, report.readers, report.resets) == (2, 4, 2)
    assert report.events > 60


@pytest.mark.parametrize(("breakage", "promise"), BROKEN, ids=lambda value: getattr(value, "__name__", str(value)))
def test_a_broken_history_is_red(breakage: Breakage, promise: int) -> None:
    story = good_story()
    breakage(story)
    report = check(story.records)
    assert promise in {violation.promise for violation in report.violations}, list(map(str, report.violations))


def test_the_first_violation_names_the_two_records_that_show_it() -> None:
    story = good_story()
    dropped(story)
    first = check(story.records).first
    assert first is not None
    assert isinstance(first.first, Received)
    assert isinstance(first.second, Received)
    assert "something is missing" in str(first)


def test_a_pause_beyond_its_bound_is_red() -> None:
    story = good_story()
    index = story.of("witness")[6]
    late = [replace(record, at_ns=record.at_ns + 30_000_000_000) for record in story.records[index:]]
    report = check([*story.records[:index], *late], Limits(stall_s=15))
    assert [violation.promise for violation in report.violations] == [10]
    assert report.longest_stall_s > 30


def test_a_slow_resume_is_red() -> None:
    story = good_story()
    index = next(i for i, r in enumerate(story.records) if isinstance(r, Opened) and r.cursor)
    records: list[Record] = [*story.records]
    records[index + 1 :] = [replace(record, at_ns=record.at_ns + 2_000_000_000) for record in records[index + 1 :]]
    report = check(records, Limits(resume_s=1))
    assert [violation.promise for violation in report.violations] == [9]


def test_what_the_nemesis_took_away_may_be_gone() -> None:
    story = good_story()
    gone_for_no_reason(story)
    index = next(i for i, r in enumerate(story.records) if isinstance(r, Left) and r.reader == "late")
    story.change(index, outcome="gone")
    assert 6 in {violation.promise for violation in check(story.records).violations}
    story.records.append(Removed(0, "s1"))
    assert check(story.records).violations == []


@pytest.mark.parametrize(
    ("strikes", "is_there", "may_be"),
    [
        ([], True, False),
        ([], False, False),
        ([(1, 3)], True, False),
        ([(48, 52)], True, True),
        ([(1, 3), (60, 63)], True, False),
        ([(1, 3), (48, 52)], True, True),
        ([(80, 90)], False, False),
        ([(30, 40)], False, True),
        ([(1, 3)], False, False),
        ([(1, 3), (30, 40)], False, True),
        ([(1, 3), (80, 90)], False, False),
    ],
)
def test_what_a_failover_may_have_taken(strikes: list[tuple[int, int]], is_there: bool, may_be: bool) -> None:
    """Told after 50 s that a stream is gone which was created after 10; with failovers from then to then."""
    lossy = [Struck(over * _S, "row_07", took_effect=True, loses=True, began_ns=began * _S) for began, over in strikes]
    log = logged(good_story(), "s1")
    final = FinalLog(log if is_there else replace(log, status=""))
    known = Known(final, Oracle(CONTINUED, 2), asked_ns=10 * _S, lossy=lossy)
    assert known.may_be_lost_at(50 * _S) is may_be


@pytest.mark.parametrize(("asked_s", "may_be"), [(2, True), (4, False)])
def test_a_stream_that_a_failover_met_while_it_was_made_may_be_lost(asked_s: int, may_be: bool) -> None:
    """The old master had made it and the new one had not; the answer came when all was over."""
    story = good_story()
    failover(story, 1, 3)
    stream_lost_by_the_store(story)
    created = next(i for i, r in enumerate(story.records) if isinstance(r, Created) and r.stream == "s1")
    story.change(created, at_ns=5 * _S, asked_ns=asked_s * _S)
    said = [violation.said for violation in check(story.records).violations]
    assert ("the stream is gone, and nobody took it away" in said) is not may_be


def test_what_was_over_may_be_evicted_when_redis_is_full() -> None:
    story = good_story()
    evicted(story, 11)
    assert check(story.records).violations == []
    gone_for_no_reason(story)
    later(story, "late", 12)
    index = next(i for i, r in enumerate(story.records) if isinstance(r, Left) and r.reader == "late")
    story.change(index, outcome="gone")
    assert check(story.records).violations == []


def test_loss_that_is_told_is_no_violation() -> None:
    """The reader saw an attempt that a failover lost, was reset, and got the rest."""
    story = good_story()
    lost = [i for i in story.of("witness") if received(story, i).data["type"] == "text"][:4]
    for index in lost:
        record = received(story, index)
        assert record.id is not None
        story.change(index, id=record.id.replace("aaaaaaa1", "ddddddd4"))
    story.records.append(Struck(0, "row_07", took_effect=True, loses=True))
    assert check(story.records).violations == []


def test_a_gap_in_an_attempt_that_was_begun_anew_is_no_violation() -> None:
    """The log in the end knows only what was trimmed off the last attempt."""
    story = good_story()
    one, two = [i for i in story.of("witness") if str(received(story, i).id).startswith("1-")][1:3]
    record = received(story, two)
    gap = {"type": "gap", "from": received(story, one - 1).id, "to": record.id, "reason": "trimmed"}
    story.records[two] = replace(record, data=gap)
    del story.records[one]
    assert check(story.records).violations == []


def test_a_history_survives_its_file(tmp_path: Path) -> None:
    story, path = good_story(), tmp_path / "history.jsonl"
    history = History(lambda: 0, path)
    for record in story.records:
        history.add(record)
    history.close()
    lines = path.read_bytes().splitlines()
    assert all(json.loads(line)["kind"] for line in lines)
    assert check(list(load(lines))).violations == []
    assert isinstance(next(load(lines)), Created)
