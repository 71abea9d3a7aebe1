"""Tool calls as an OpenAI-style provider deltas them, to tool-call events."""

from typing import Any, Final

from shared.errors import ProviderMalformed
from shared.log.events import Event, tool_call

__all__ = ("MAX_TOOL_CALLS", "ToolCalls")

MAX_TOOL_CALLS: Final = 1024
# Both go whole into the event that opens a call, which has to stay small.
_MAX_NAME_CHARS: Final = 1024


class ToolCalls:
    """The calls of one answer. The first delta of an index opens its call; later ids and names are ignored.

    A provider that leaves out the index (Gemini's compatible API) means one call per id.
    """

    def __init__(self) -> None:
        self._opened: set[int] = set()
        self._indexes: dict[str, int] = {}
        self._last = 0

    def take(self, call: object) -> tuple[Event, ...]:
        """At most one event. Raises `ProviderMalformed` on a wrong shape."""
        if not isinstance(call, dict):
            raise ProviderMalformed
        call_id = _text(call, "id")
        function = call.get("function") or {}
        if not isinstance(function, dict):
            raise ProviderMalformed
        name, arguments = _text(function, "name"), _text(function, "arguments")
        if not (call_id or name or arguments):
            return ()
        index = self._index(call.get("index"), call_id)
        if index not in self._opened:
            return (self._open(index, call_id, name, arguments),)
        return (tool_call(index, arguments),) if arguments else ()

    def _index(self, index: object, call_id: str) -> int:
        if index is None:
            index = self._indexes.get(call_id, len(self._opened)) if call_id else self._last
        if type(index) is not int or not 0 <= index < MAX_TOOL_CALLS:
            raise ProviderMalformed
        self._last = index
        return index

    def _open(self, index: int, call_id: str, name: str, arguments: str) -> Event:
        if len(call_id) > _MAX_NAME_CHARS or len(name) > _MAX_NAME_CHARS:
            raise ProviderMalformed
        self._opened.add(index)
        if call_id:
            self._indexes[call_id] = index
        return tool_call(index, arguments, call_id=call_id or f"call_{index}", name=name)


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ProviderMalformed
    return value
