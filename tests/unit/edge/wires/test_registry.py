"""Which wire a request gets, and what the registry refuses to hold."""

import pytest

from services.edge.api.answers.poll import POLL_EXAMPLE
from services.edge.api.asked import events_content
from services.edge.api.routes import router
from services.edge.wires.ndjson import NDJSON
from services.edge.wires.registry import WIRES, Wires
from services.edge.wires.sse import SSE
from services.edge.wires.wire import Wire
from shared.errors import InvalidRequest
from tests.wires.prototype import PROTOTYPE, Prototype

__all__ = ()


@pytest.mark.parametrize(
    ("accept", "name", "wire"),
    [
        ("", None, None),
        ("*/*", None, None),
        ("application/json", None, None),
        ("text/event-stream", None, SSE),
        ("text/html, text/event-stream;q=0.5", None, SSE),
        ("application/x-ndjson", None, NDJSON),
        ("application/jsonl", None, NDJSON),
        ("text/event-stream, application/x-ndjson", None, NDJSON),
        ("text/event-stream", "ndjson", NDJSON),
        ("application/x-ndjson", "", NDJSON),
        ("", "sse", SSE),
    ],
)
def test_a_name_counts_before_a_media_type(accept: str, name: str | None, wire: Wire | None) -> None:
    assert WIRES.wanted(accept=accept, name=name) is wire


@pytest.mark.parametrize("name", ["SSE", "telex", "sse ", "\x00"])
def test_a_name_that_no_wire_has_is_refused_and_not_repeated(name: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        WIRES.wanted(accept="text/event-stream", name=name)
    names = ", ".join(sorted(wire.name for wire in WIRES))
    assert str(refusal.value) == f"There is no such wire; there are {names}."


def test_who_names_none_gets_server_sent_events() -> None:
    assert WIRES.default is SSE


def test_a_wire_more_is_a_line_more() -> None:
    assert Wires(PROTOTYPE, *WIRES).wanted(accept="", name="prototype") is PROTOTYPE
    assert Wires(PROTOTYPE, *WIRES).default is SSE


def test_two_wires_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="one name"):
        Wires(SSE, SSE)


def test_a_wire_with_a_state_has_to_end_at_a_gap() -> None:
    class Endless(Prototype):
        final = frozenset()

    with pytest.raises(ValueError, match="prototype"):
        Wires(Endless())


def test_the_description_of_the_api_shows_every_wire_and_a_poll() -> None:
    (route,) = [route for route in router.routes if getattr(route, "name", "") == "stream_events"]
    shown = getattr(route, "responses", {})[200]["content"]
    assert {name: example["value"] for media in shown.values() for name, example in media["examples"].items()} == {
        "poll": POLL_EXAMPLE,
        **{wire.name: wire.example for wire in WIRES},
    }


def test_wires_of_one_media_type_are_shown_side_by_side() -> None:
    shown = events_content([PROTOTYPE, SSE])
    assert shown == {
        "text/event-stream": {"examples": {"prototype": {"value": PROTOTYPE.example}, "sse": {"value": SSE.example}}}
    }
