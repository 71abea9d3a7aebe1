"""The events of a stream: one kind, one stored value, one size in units.

An event is kept the way Redis keeps it (kind and bytes), because on every hot path it is only moved: the worker
encodes it once, the edge splices it into frames. Sizes are the arithmetic of positions (PROTOCOL.md, section 1).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson

from shared.log.position import Position

__all__ = (
    "ASIDE_KINDS",
    "CANCELLED",
    "DELTA_KINDS",
    "KINDS",
    "MAX_EVENT_BYTES",
    "TERMINAL_KINDS",
    "Event",
    "LogEntry",
    "annotation",
    "cancelled",
    "delta",
    "done",
    "error",
    "fence",
    "file_pieces",
    "json_line",
    "pieces",
    "reasoning_end",
    "stored",
    "tool_call",
    "usage",
)

DELTA_KINDS: Final = frozenset({"text", "reasoning", "refusal"})
TERMINAL_KINDS: Final = frozenset({"done", "error", "cancelled"})
# Parts of the message that are no text: one unit each.
ASIDE_KINDS: Final = frozenset({"reasoning_end", "annotation", "file"})
KINDS: Final = DELTA_KINDS | TERMINAL_KINDS | ASIDE_KINDS | {"tool_call", "usage", "fence"}

# A longer delta becomes several events, so that no entry, frame or Lua argument grows without bound.
MAX_EVENT_BYTES: Final = 32 * 1024

# Legal in JSON, but line ends to many a client's splitlines().
_LINE_ENDS: Final = tuple((end.encode(), f"\\u{ord(end):04x}".encode()) for end in ("\u0085", "\u2028", "\u2029"))


class Event(NamedTuple):
    """`value` is UTF-8 text for a delta kind, else one JSON object. `size` is in units.

    One is made for each chunk of a provider and each entry that an edge reads: 0.24 µs, not the 0.42 of a dataclass.
    """

    kind: str
    value: bytes
    size: int

    def __repr__(self) -> str:
        return f"Event(kind={self.kind!r}, size={self.size})"

    @property
    def is_terminal(self) -> bool:
        return self.kind in TERMINAL_KINDS

    def data(self) -> bytes:
        """The event as readers get it: one line of JSON that begins with its `type`."""
        if self.kind in DELTA_KINDS:
            return b'{"type":"%b","delta":%b}' % (self.kind.encode(), json_line(self.value.decode()))
        if self.kind not in KINDS:
            return _newer(self.kind, self.value)
        rest = self.value[1:]
        return b'{"type":"%b"%b%b' % (self.kind.encode(), b"" if rest == b"}" else b",", rest)

    def fields(self) -> dict[str, Any]:
        """The stored JSON object of an event that is no delta."""
        fields: dict[str, Any] = orjson.loads(self.value)
        return fields


class LogEntry(NamedTuple):
    """An event in the log; `position` is its end, so it starts at `position.offset - event.size`."""

    position: Position
    event: Event

    @property
    def start(self) -> int:
        return self.position.offset - self.event.size


def json_line(value: object) -> bytes:
    """JSON in one line for every client: `\\r`, `\\n`, U+0085, U+2028 and U+2029 are escaped."""
    line = orjson.dumps(value)
    if line.isascii():
        return line
    for end, escaped in _LINE_ENDS:
        if end in line:
            line = line.replace(end, escaped)
    return line


def delta(kind: str, text: str) -> Event:
    """A text, reasoning or refusal delta; its size is its UTF-8 length. Lone surrogates become U+FFFD here."""
    value = _utf8(text)
    return Event(kind, value, len(value))


def tool_call(
    index: int,
    arguments_delta: str,
    *,
    call_id: str | None = None,
    name: str | None = None,
    provider_data: Mapping[str, Any] | None = None,
) -> Event:
    """A piece of a tool call's arguments. The event that carries `id` and `name` opens the call: one unit more.

    `provider_data`, opaque, may come with the opening only. The arguments are the last member: compaction relies on it.
    """
    fields: dict[str, object] = {"index": index}
    if call_id is not None:
        fields |= {"id": _scalar(call_id), "name": _scalar(name or "")}
        if provider_data:
            fields["provider_data"] = provider_data
    arguments = _utf8(arguments_delta)
    fields["arguments_delta"] = arguments.decode()
    return Event("tool_call", json_line(fields), len(arguments) + (call_id is not None))


def reasoning_end(provider_data: Mapping[str, Any]) -> Event:
    """The end of a run of reasoning, with what its provider wants back with the next turn."""
    return Event("reasoning_end", json_line({"provider_data": provider_data}), 1)


def annotation(value: object) -> Event:
    """A citation or another remark of the provider on its text, as it came."""
    return Event("annotation", json_line({"annotation": value}), 1)


def file_pieces(index: int, url: str, media_type: str = "") -> list[Event]:
    """File number `index`, as its address or a data URL. A long one comes in pieces: `url`, then `url_delta`s."""
    first: dict[str, object] = {"index": index, "media_type": _scalar(media_type)}
    parts = [part.decode() for part in _cut(_utf8(url), MAX_EVENT_BYTES)]
    events = [Event("file", json_line({**first, "url": parts[0] if parts else ""}), 1)]
    return events + [Event("file", json_line({"index": index, "url_delta": part}), 1) for part in parts[1:]]


def usage(fields: dict[str, Any]) -> Event:
    return Event("usage", json_line(fields), 1)


def fence(*, nonce: str, keep: int, reason: str, worker: str) -> Event:
    return Event("fence", json_line({"nonce": nonce, "keep": keep, "reason": reason, "worker": worker}), 0)


def done(finish_reason: str, **fields: Any) -> Event:
    return Event("done", json_line({"finish_reason": finish_reason, **fields}), 1)


def error(code: str, message: str, *, retryable: bool, **fields: Any) -> Event:
    return Event("error", json_line({"code": code, "message": message, "retryable": retryable, **fields}), 1)


def cancelled(**fields: Any) -> Event:
    return Event("cancelled", json_line(fields), 1)


CANCELLED: Final = Event("cancelled", b"{}", 1)


def stored(kind: str, value: bytes) -> Event:
    """The event behind a Redis field, its size worked out again."""
    if kind in DELTA_KINDS:
        return Event(kind, value, len(value))
    if kind == "tool_call":
        return Event(kind, value, _tool_call_size(value))
    return Event(kind, value, 0 if kind == "fence" else 1)


def pieces(event: Event, *, max_bytes: int = MAX_EVENT_BYTES) -> Sequence[Event]:
    """Return the event itself, or its pieces, cut at character boundaries, when it is longer than `max_bytes`."""
    if event.size <= max_bytes or event.kind not in DELTA_KINDS | {"tool_call"}:
        return (event,)
    if event.kind in DELTA_KINDS:
        return [Event(event.kind, part, len(part)) for part in _cut(event.value, max_bytes)]
    return list(_tool_call_pieces(event, max_bytes))


def _newer(kind: str, value: bytes) -> bytes:
    """An event of a kind that only a newer version knows: told as it is, because the reader may know it, too."""
    try:
        fields = orjson.loads(value)
    except orjson.JSONDecodeError:
        fields = None
    members = fields if isinstance(fields, dict) else {}
    return json_line({"type": kind} | {name: member for name, member in members.items() if name != "type"})


def _tool_call_pieces(event: Event, max_bytes: int) -> Iterator[Event]:
    fields = event.fields()
    opening = {"call_id": fields.get("id"), "name": fields.get("name"), "provider_data": fields.get("provider_data")}
    for part in _cut(fields["arguments_delta"].encode(), max_bytes):
        yield tool_call(fields["index"], part.decode(), **opening)
        opening = {}


def _cut(value: bytes, max_bytes: int) -> Iterator[bytes]:
    start = 0
    while start < len(value):
        end = min(start + max_bytes, len(value))
        while end < len(value) and value[end] & 0xC0 == 0x80:
            end -= 1
        yield value[start:end]
        start = end


def _tool_call_size(value: bytes) -> int:
    fields = orjson.loads(value)
    return len(fields["arguments_delta"].encode()) + ("id" in fields)


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _scalar(text).encode()


def _scalar(text: str) -> str:
    """The text with each lone surrogate replaced by U+FFFD; surrogate pairs become the character they stand for."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
