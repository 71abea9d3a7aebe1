"""Characters that a provider cuts in two: half an emoji in one delta, the other half in the next.

A tokenizer cuts where it likes, and some providers send the pieces as they are: as raw bytes inside the JSON string, or
as the escapes of half a surrogate pair. The first half is held back until the second one comes.
"""

import codecs
import re
from typing import Final

__all__ = ("REPLACEMENT", "Joint")

REPLACEMENT: Final = "\ufffd"

_DECODER: Final = codecs.getincrementaldecoder("utf-8")
# Surrogates that do not stand for a byte which was no UTF-8 (`surrogateescape` uses U+DC80 to U+DCFF for those).
_NO_BYTE: Final = re.compile("[\ud800-\udc7f\udd00-\udfff]")


class Joint:
    """The boundary between the deltas of one text. It holds back at most three bytes, or half a surrogate pair."""

    __slots__ = ("_bytes", "_surrogate")

    def __init__(self) -> None:
        self._bytes = b""
        self._surrogate = ""

    @property
    def is_holding(self) -> bool:
        return bool(self._bytes or self._surrogate)

    def join(self, text: str, *, is_raw: bool) -> str:
        """Return the whole characters so far. `is_raw`: bytes that were no UTF-8 are in it as surrogate escapes.

        Lone surrogates inside are left to whoever encodes the text.
        """
        if is_raw:
            return self._decoded(text)
        if self._bytes:
            text = self.rest() + text
        text, self._surrogate = self._surrogate + text, ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            text, self._surrogate = text[:-1], text[-1]
        return text

    def rest(self) -> str:
        """Return the replacement for a half character whose other half never came."""
        is_holding, self._bytes, self._surrogate = self.is_holding, b"", ""
        return REPLACEMENT if is_holding else ""

    def _decoded(self, text: str) -> str:
        text, self._surrogate = self._surrogate + text, ""
        data = self._bytes + _NO_BYTE.sub(REPLACEMENT, text).encode(errors="surrogateescape")
        decoder = _DECODER("replace")
        whole = decoder.decode(data)
        self._bytes = decoder.getstate()[0]
        return whole
