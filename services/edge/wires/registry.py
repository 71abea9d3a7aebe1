"""All wires there are: a new one is a module of its own and a line here."""

from collections.abc import Iterator
from typing import Final

from services.edge.wires.ag_ui.wire import AG_UI
from services.edge.wires.ai_sdk.wire import AI_SDK, AI_SDK_6, AI_SDK_AGAIN, AI_SDK_ANEW
from services.edge.wires.anthropic import ANTHROPIC
from services.edge.wires.ndjson import NDJSON
from services.edge.wires.notices import Gap
from services.edge.wires.openai_chat import OPENAI, OPENAI_WITH_USAGE
from services.edge.wires.openai_responses.wire import RESPONSES
from services.edge.wires.sse import SSE
from services.edge.wires.wire import Wire
from shared.errors import InvalidRequest

__all__ = ("WIRES", "Wires")


class Wires:
    """Wires by name, in the order in which an `Accept` is searched for them. The last is for who names none."""

    def __init__(self, *wires: Wire) -> None:
        self._by_name = {wire.name: wire for wire in wires}
        self.default = wires[-1]
        if len(self._by_name) < len(wires):
            raise ValueError("two wires of one name")
        for wire in wires:
            if wire.has_state and Gap not in wire.final:
                # Its state is made of the log before; over a gap it would differ between readers that share frames.
                raise ValueError(f"the wire {wire.name} has a state and has to end at a gap")

    def __repr__(self) -> str:
        return f"<Wires {' '.join(self._by_name)}>"

    def __iter__(self) -> Iterator[Wire]:
        return iter(self._by_name.values())

    def wanted(self, *, accept: str, name: str | None = None) -> Wire | None:
        """The wire that is asked for by name, else by an `Accept` header; None if by neither.

        Raises `InvalidRequest` for a name that no wire has.
        """
        if name:
            if name not in self._by_name:
                raise InvalidRequest(f"There is no such wire; there are {', '.join(sorted(self._by_name))}.")
            return self._by_name[name]
        return next((wire for wire in self if any(media_type in accept for media_type in wire.accepts)), None)


WIRES: Final = Wires(
    AG_UI,
    AI_SDK,
    AI_SDK_AGAIN,
    AI_SDK_ANEW,
    AI_SDK_6,
    ANTHROPIC,
    RESPONSES,
    OPENAI,
    OPENAI_WITH_USAGE,
    NDJSON,
    SSE,
)
