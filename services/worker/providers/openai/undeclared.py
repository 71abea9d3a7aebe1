"""A body that does not say it is an event stream: one all the same, or a JSON document, or neither."""

import re
from collections.abc import Sequence
from typing import Final

import orjson

from services.worker.providers.http.sse import MAX_EVENT_BYTES, SseReader
from shared.errors import ProviderMalformed

__all__ = ("UndeclaredBody",)

_BOM: Final = "\ufeff".encode()
# How an event stream begins: with a comment or one of its fields.
_STREAM: Final = re.compile(rb"(data|event|id|retry|error)?:")
_LONGEST_FIELD: Final = len(b"retry:")


class UndeclaredBody:
    """Reads the payloads of a body, like an `SseReader`. A document is one payload, at its end."""

    is_between_events = False

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_bytes = max_event_bytes
        self._stream: SseReader | None = None
        self._held = bytearray()
        self.is_document = False

    def feed(self, data: bytes) -> Sequence[bytes]:
        """The payloads that `data` completes. Raises `ProviderMalformed` if it is neither stream nor document."""
        if self._stream is not None:
            return self._stream.feed(data)
        self._held += data
        stream = None if self.is_document else self._look()
        if len(self._held) > self._max_bytes:
            raise ProviderMalformed
        if stream is None:
            return ()
        held, self._held = bytes(self._held), bytearray()
        self._stream = stream
        return stream.feed(held)

    def finish(self) -> Sequence[bytes]:
        """The payloads at the end of the body: the document, or each line of it. Raises `ProviderMalformed`."""
        if self._stream is not None:
            return self._stream.finish()
        held, self._held = bytes(self._held), bytearray()
        if not self.is_document:
            if held:
                raise ProviderMalformed
            return ()
        try:
            orjson.loads(held)
        except orjson.JSONDecodeError:
            return held.split(b"\n")
        return (held,)

    def _look(self) -> SseReader | None:
        """The reader of the stream, if it shows by now that it is one."""
        self._held = self._held.removeprefix(_BOM).lstrip()
        start = bytes(self._held[:16])
        if not start:
            return None
        if start[:1] in {b"{", b"["}:
            self.is_document = True
        elif _STREAM.match(start):
            return SseReader(max_event_bytes=self._max_bytes)
        elif len(start) >= _LONGEST_FIELD or b"\n" in start:
            raise ProviderMalformed
        return None
