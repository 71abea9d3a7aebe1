"""Tool calls as OpenAI-style providers delta them, to tool-call events.

By the book a call has an index, its first delta brings id and name, and the others a piece of its arguments each. What
providers do: every call at index 0, no index, no id, the name later or in two pieces, a new id with each piece, the
whole name with each piece, the end of the arguments at another index. What tells calls apart is therefore decided here,
by all that is known of a call: a new id, or a new name with whole arguments, is a new call; a tail without identity
belongs to the call that is open.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

import orjson

from services.worker.providers.openai.characters import Joint
from services.worker.providers.openai.provider_data import carried
from shared.errors import ProviderMalformed
from shared.log.events import Event, tool_call

__all__ = ("MAX_TOOL_CALLS", "ToolCalls")

MAX_TOOL_CALLS: Final = 1024
# Both go whole into the event that opens a call, which has to stay small.
_MAX_NAME_CHARS: Final = 1024
# Longer arguments are not looked at to see whether they are complete.
_MOST_LOOKED_AT_CHARS: Final = 1024 * 1024
_OF_A_TAIL: Final = frozenset({"index", "id", "type", "function"})
# Members of a call that the next turn needs as they are.
_OPAQUE: Final = ("extra_content", "provider_specific_fields", "thought_signature", "thoughtSignature", "signature")


@dataclass(frozen=True, slots=True)
class _Piece:
    """One delta of a call. `slot` is the index that the provider gave, if it gave one."""

    slot: int | None
    id: str
    name: str
    arguments: str
    data: Mapping[str, Any]

    @classmethod
    def of(cls, call: object) -> Self:
        if not isinstance(call, dict):
            raise ProviderMalformed
        function = call.get("function") or call.get("custom") or {}
        if not isinstance(function, dict):
            raise ProviderMalformed
        arguments = function.get("arguments", function.get("input"))
        data = {name: value for of in (call, function) for name in _OPAQUE if (value := of.get(name))}
        return cls(_slot(call.get("index")), _name(call, "id"), _name(function, "name"), _arguments(arguments), data)


@dataclass(slots=True)
class _Call:
    """A call. It is told with its first argument, when its name must be complete, or when something else follows."""

    index: int
    slot: int | None
    count: Callable[[str], None]
    id: str = ""
    name: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    is_told: bool = False
    arguments: list[str] = field(default_factory=list)
    chars: int = 0
    joint: Joint = field(default_factory=Joint)

    @property
    def is_pending(self) -> bool:
        """Return whether something is known of it that has not been told."""
        return self.joint.is_holding or (not self.is_told and bool(self.name or self.arguments))

    @property
    def is_whole(self) -> bool:
        """Return whether its arguments are complete."""
        if not self.arguments or self.chars > _MOST_LOOKED_AT_CHARS or not self.arguments[-1].rstrip().endswith("}"):
            return False
        return _is_object("".join(self.arguments))

    def take(self, piece: _Piece, *, is_raw: bool) -> list[Event]:
        """Return what a piece adds to the call, as events as far as it is certain."""
        is_new = not (self.id or self.name or self.arguments)
        text = self.joint.join(piece.arguments, is_raw=is_raw) if piece.arguments else ""
        if text:
            self._keep(text)
        if self.is_told:
            return [tool_call(self.index, text)] if text else []
        self._learn(piece)
        if not (self.name and self.arguments):
            return []
        return self._opened(text) if is_new else self.tell()

    def go_on(self, text: str) -> Event:
        """The next piece of the arguments of a call that was told; it does not end in half a character."""
        self._keep(text)
        return tool_call(self.index, text)

    def tell(self) -> list[Event]:
        """The call with all that is known of it."""
        arguments = "".join(self.arguments)
        return [*self._opened(""), *([tool_call(self.index, arguments)] if arguments else [])]

    def rest(self) -> list[Event]:
        """Return the rest of the call, now that something else follows; nothing for one without name and arguments."""
        half = self.joint.rest()
        if half:
            self._keep(half)
        if self.is_told:
            return [tool_call(self.index, half)] if half else []
        return self.tell() if self.name or self.arguments else []

    def is_another(self, piece: _Piece) -> bool:
        """Return whether the piece, which has the index of this call, begins another."""
        if piece.id and piece.id != self.id:
            return self._is_another_id(piece)
        if not piece.name or piece.id or not self.arguments:
            return False
        if self.is_whole:
            return piece.name != self.name or bool(piece.arguments.strip())
        return piece.name != self.name and _is_object(piece.arguments)

    def _is_another_id(self, piece: _Piece) -> bool:
        if piece.name:
            # A name that came before its id.
            return bool(self.id or self.arguments) or not _same_name(self.name, piece.name)
        # Some give each piece of the arguments an id of its own.
        return self.is_whole or not (piece.arguments or not self.id)

    def _learn(self, piece: _Piece) -> None:
        self.id = self.id or piece.id
        self.data |= piece.data
        if piece.name and piece.name != self.name:
            is_all_of_it = piece.name.startswith(self.name)
            self.name = piece.name if is_all_of_it else self.name + piece.name
        if len(self.name) > _MAX_NAME_CHARS:
            raise ProviderMalformed

    def _opened(self, arguments: str) -> list[Event]:
        self.is_told = True
        call_id = self.id or f"call_{self.index}"
        data = carried(self.data, self.count) if self.data else None
        return [tool_call(self.index, arguments, call_id=call_id, name=self.name, provider_data=data)]

    def _keep(self, text: str) -> None:
        self.chars += len(text)
        if self.chars <= _MOST_LOOKED_AT_CHARS or not self.is_told:
            self.arguments.append(text)


class ToolCalls:
    """The calls of one answer. `late` is provider data of calls that had been told when it came, by their index.

    `count` is told what of them is lost.
    """

    def __init__(self, count: Callable[[str], None]) -> None:
        self._count = count
        self.late: dict[int, dict[str, Any]] = {}
        self._calls: list[_Call] = []
        self._by_slot: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}
        self._last: _Call | None = None
        # Those that are not told yet, or may hold half a character.
        self._open: list[_Call] = []

    @property
    def is_holding(self) -> bool:
        return bool(self._open) and any(call.is_pending for call in self._open)

    def take(self, calls: Sequence[object], *, is_raw: bool = False) -> list[Event]:
        """The events behind the calls of one delta. Raises `ProviderMalformed` on a wrong shape."""
        events: list[Event] = []
        touched: list[_Call] = []
        for each in calls:
            piece = _Piece.of(each)
            if not (piece.id or piece.name or piece.arguments or piece.data):
                continue
            call = self._call_of(piece, touched)
            touched.append(call)
            events += self._complete_but(touched)
            if piece.data and call.is_told:
                self.late.setdefault(call.index, {}).update(piece.data)
            events += call.take(piece, is_raw=is_raw)
            if call.id:
                self._by_id.setdefault(call.id, call)
        self._open = [call for call in self._calls if not call.is_told or call.joint.is_holding]
        return events

    def rest(self) -> list[Event]:
        """Return what was held back, now that something else follows."""
        return [event for call in self._open for event in call.rest()]

    def tail(self, calls: object) -> Event | None:
        """The next piece of the arguments of a call that was told, if a delta is nothing else: nearly every one is."""
        if self._open or type(calls) is not list or len(calls) != 1:
            return None
        call = calls[0]
        if type(call) is not dict or not _OF_A_TAIL.issuperset(call) or call.get("id"):
            return None
        index, function = call.get("index"), call.get("function")
        known = self._by_slot.get(index) if type(index) is int else None
        if known is None or type(function) is not dict or function.get("name"):
            return None
        text = function.get("arguments")
        if type(text) is not str or not text or len(function) > 1 + ("name" in function):
            return None
        # Half a character has to wait for its other half.
        return known.go_on(text) if text[-1] < "\ud800" or text[-1] > "\udfff" else None

    def _complete_but(self, touched: Sequence[_Call]) -> list[Event]:
        """Calls that were named in an earlier delta are complete when another one goes on."""
        held = [each for each in self._open if not each.is_told and each.name]
        done = [each for each in held if not any(each is other for other in touched)]
        return [event for each in done for event in each.tell()]

    def _call_of(self, piece: _Piece, touched: Sequence[_Call]) -> _Call:
        known = self._by_id.get(piece.id) if piece.id else None
        if known is not None and (not piece.name or piece.slot in {None, known.slot}):
            return self._went_on(known)
        open_ = self._last if piece.slot is None else self._by_slot.get(piece.slot)
        if open_ is None:
            tail_of = self._last if not (piece.id or piece.name) else None
            return tail_of if tail_of is not None and not tail_of.is_whole else self._new(piece)
        # Nobody gives a name in two pieces within one delta.
        is_named_again = bool(piece.name) and not piece.id and any(each is open_ for each in touched)
        return self._new(piece) if is_named_again or open_.is_another(piece) else self._went_on(open_)

    def _went_on(self, call: _Call) -> _Call:
        self._last = call
        return call

    def _new(self, piece: _Piece) -> _Call:
        taken = {call.index for call in self._calls}
        index = piece.slot if piece.slot is not None and piece.slot not in taken else max(taken, default=-1) + 1
        if index >= MAX_TOOL_CALLS or len(piece.id) > _MAX_NAME_CHARS:
            raise ProviderMalformed
        call = self._last = _Call(index, piece.slot, self._count)
        self._calls.append(call)
        self._open.append(call)
        if piece.slot is not None:
            self._by_slot[piece.slot] = call
        return call


def _same_name(known: str, named: str) -> bool:
    return not known or known == named


def _slot(index: object) -> int | None:
    if isinstance(index, str) and index.isascii() and index.isdigit() and len(index) <= 4:
        index = int(index)
    if index is None or index == "":
        return None
    if type(index) is not int or not 0 <= index < MAX_TOOL_CALLS:
        raise ProviderMalformed
    return index


def _name(fields: dict[str, Any], name: str) -> str:
    """An id or a name. Some number their calls."""
    value = fields.get(name)
    if value is None:
        return ""
    if type(value) is int:
        return str(value)
    if not isinstance(value, str):
        raise ProviderMalformed
    return value


def _arguments(value: object) -> str:
    """The arguments as text, also of those who send the object itself."""
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return _dumped(value)
    if not isinstance(value, str):
        raise ProviderMalformed
    return value


def _dumped(value: object) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        # A lone surrogate, or a number that is too large.
        return json.dumps(value, separators=(",", ":"))


def _is_object(text: str) -> bool:
    try:
        return isinstance(orjson.loads(text), dict)
    except ValueError:
        return False
