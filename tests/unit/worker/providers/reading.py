"""An answer in a dialect, read under every framing, as a reader of the stream would put it together."""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from services.worker.providers.dialect import Dialect
from services.worker.providers.provider import CompletionRequest
from shared.log.events import Event
from shared.settings.providers import ProviderSettings

__all__ = ("Heard", "entry", "frames_of", "heard", "sent")


@dataclass
class Heard:
    """All that an answer says. `data` is the provider data of its reasoning, in order."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: dict[int, dict[str, Any]] = field(default_factory=dict)
    data: list[Any] = field(default_factory=list)
    annotations: list[Any] = field(default_factory=list)
    files: dict[int, str] = field(default_factory=dict)
    usage: dict[str, Any] | None = None
    finish: str | None = None
    unknown: dict[str, int] = field(default_factory=dict)

    def take(self, events: Sequence[Event]) -> None:
        for event in events:
            assert event.size
            self._take(event)

    def _take(self, event: Event) -> None:
        match event.kind:
            case "text" | "reasoning" | "refusal":
                setattr(self, event.kind, getattr(self, event.kind) + event.value.decode())
            case "tool_call":
                fields = event.fields()
                known = self.calls.setdefault(fields["index"], {"arguments": ""})
                known["arguments"] += fields.pop("arguments_delta")
                known.update({name: value for name, value in fields.items() if name != "index"})
            case "reasoning_end":
                self.data.append(event.fields()["provider_data"])
            case "annotation":
                self.annotations.append(event.fields()["annotation"])
            case "file":
                fields = event.fields()
                known_url = self.files.get(fields["index"], "")
                self.files[fields["index"]] = known_url + fields.get("url", fields.get("url_delta", ""))
            case "usage":
                assert self.usage is None
                self.usage = event.fields()


def entry(dialect: Dialect, **values: Any) -> ProviderSettings:
    fields: dict[str, Any] = {"base_url": "http://127.0.0.1:1/v1", "models": ["*"], **values}
    return ProviderSettings(name="mine", dialect=dialect.name, **fields)


def frames_of(*frames: Mapping[str, Any], named: bool = True) -> bytes:
    """Frames as server-sent events, with their type as the name of the event."""
    blocks = []
    for frame in frames:
        name = f"event: {frame['type']}\n".encode() if named and "type" in frame else b""
        blocks.append(name + b"data: " + orjson.dumps(frame) + b"\n\n")
    return b"".join(blocks)


def heard(dialect: Dialect, body: bytes, media_type: str = "text/event-stream") -> Heard:
    """The answer in these bytes, which has to be the same however they are cut."""
    found = [_heard(dialect, cut(body), media_type) for cut in CUTS]
    assert found[1:] == found[:-1]
    return found[0]


def sent(dialect: Dialect, messages: Sequence[Any], **options: Any) -> dict[str, Any]:
    """The body of a request with these messages and options; `entry` gives values of the provider's entry."""
    settings = entry(dialect, **options.pop("entry", {}))
    model = options.pop("model", "m")
    call = dialect.completion(CompletionRequest(model, messages, options), settings, key="k")
    assert call.body is not None
    body: dict[str, Any] = orjson.loads(call.body)
    return body


def _whole(body: bytes) -> list[bytes]:
    return [body]


def _events(body: bytes) -> list[bytes]:
    return [piece for piece in re.split(rb"(?<=\n\n)|(?<=}\n)", body) if piece]


def _bytes(body: bytes) -> list[bytes]:
    rolls, pieces, at = random.Random(1), [], 0
    while at < len(body):
        size = rolls.choice((1, 2, 3, 7, 20))
        pieces.append(body[at : at + size])
        at += size
    return pieces


CUTS: tuple[Callable[[bytes], list[bytes]], ...] = (_whole, _events, _bytes)


def _heard(dialect: Dialect, pieces: Sequence[bytes], media_type: str) -> Heard:
    reader, answer = dialect.reader(media_type), Heard()
    for piece in pieces:
        if reader.ended:
            break
        answer.take(reader.feed(piece))
    while events := reader.finish():
        answer.take(events)
    answer.finish, answer.unknown = reader.outcome.finish_reason, dict(reader.unknown)
    return answer
