"""What AG-UI's clients are told when the answer begins anew."""

import json
from typing import Any

from services.edge.wires.ag_ui.telling import Telling, told
from services.edge.wires.ag_ui.wire import AG_UI, AgUi
from services.edge.wires.notices import Reset
from shared.log import events
from shared.log.events import Event, LogEntry
from shared.log.message import Content
from shared.log.position import EventId, Position
from tests.wires.hearing import AgUiHearing

__all__ = ()

HISTORY = [{"id": "m1", "role": "user", "content": "Hi"}]
CURSOR = EventId(Position(2, 9), "0f" * 8)
OLD = [
    events.delta("reasoning", "Old thought"),
    events.delta("text", "Old"),
    events.tool_call(0, "{", call_id="c0", name="f"),
]


def play(said: list[Event], state: Telling) -> tuple[Telling, bytes]:
    raw = b""
    for event in said:
        state, frames = told(state, event)
        raw += frames
    return state, raw


def reset(parts: list[dict[str, Any]]) -> Reset:
    return Reset("new_attempt", parts, CURSOR)


def parts_of(said: list[Event]) -> list[dict[str, Any]]:
    return Content([LogEntry(Position(1, place + 1), event) for place, event in enumerate(said)]).parts()


def test_the_messages_are_replaced_and_what_follows_goes_on_with_them() -> None:
    """Whatever was open before, and wherever in the new answer the reader is."""
    new = [
        events.delta("reasoning", "New thought"),
        events.reasoning_end({"signature": "x"}),
        events.delta("text", "Ne"),
        events.delta("text", "w"),
        events.tool_call(4, '{"a":', call_id="c1", name="g"),
        events.delta("text", "And"),
        events.tool_call(4, "1}"),
        events.done("stop"),
    ]
    for cut in range(len(OLD) + 1):
        before, raw = play(OLD[:cut], Telling("s"))
        for at in range(len(new)):
            state, _ = play(new[:at], Telling("s"))
            hearing = AgUiHearing()
            hearing.feed(raw + AgUi(HISTORY).notice(reset(parts_of(new[:at])), before) + play(new[at:], state)[1])
            spoken = [(kind, text) for kind, text in hearing.spoken() if text]
            assert sorted(spoken) == sorted(
                [("reasoning", "New thought"), ("text", "New"), ("tool_call", '{"a":1}'), ("text", "And")]
            ), (cut, at)
            assert hearing.ending == "done"


def test_the_question_stays_and_old_reasoning_does_not() -> None:
    """Clients keep their reasoning when a snapshot has none."""
    before, _ = play(OLD, Telling("s"))
    raw = AgUi(HISTORY).notice(reset([]), before)
    (line,) = [line for line in raw.split(b"\n") if b"MESSAGES_SNAPSHOT" in line]
    assert json.loads(line[6:])["messages"] == [*HISTORY, {"id": "s-r0", "role": "reasoning", "content": ""}]
    assert raw.endswith(f"\nid: {CURSOR}\n\n".encode())


def test_without_the_question_it_is_an_error_and_the_end() -> None:
    assert Reset in AG_UI.final
    assert Reset not in AgUi(HISTORY).final
    assert b'"code":"attempt_restarted"' in AG_UI.notice(reset([]), Telling("s"))


def test_frames_are_shared_whoever_asked() -> None:
    assert AgUi(HISTORY) == AG_UI
    assert hash(AgUi(HISTORY)) == hash(AG_UI)
