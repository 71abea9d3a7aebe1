"""Parts of a message as the events that would make them: so a wire tells a reset in the words of what comes live."""

from collections.abc import Iterator
from typing import Any

from shared.log import events
from shared.log.events import Event, json_line

__all__ = ("events_of",)


def events_of(part: dict[str, Any]) -> Iterator[Event]:
    """The events that would make this part."""
    data = part.get("provider_data")
    match part["type"]:
        case "tool_call":
            arguments = part["arguments"]
            yield events.tool_call(part["index"], arguments, call_id=part["id"], name=part["name"], provider_data=data)
        case "file":
            fields = {name: part[name] for name in ("index", "media_type", "url")}
            yield Event("file", json_line(fields), 1)
        case kind:
            if part["text"] or data is None:
                yield events.delta(kind, part["text"])
            for annotation in part.get("annotations", ()):
                yield events.annotation(annotation)
            if data is not None:
                yield events.reasoning_end(data)
