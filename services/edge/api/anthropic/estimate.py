"""An estimate of the tokens of a request: no tokenizer of any provider is at hand."""

from typing import Any, Final

from shared.log.events import json_line

__all__ = ("estimated_tokens",)

_BYTES_A_TOKEN: Final = 4
# What the form of a message costs, and a picture of ordinary size.
_MESSAGE_TOKENS: Final = 4
_PICTURE_TOKENS: Final = 1_600


def estimated_tokens(messages: list[dict[str, Any]], tools: list[dict[str, Any]] | None) -> int:
    """Return about how many tokens these chat messages and tools are: text by its length, pictures all alike."""
    tokens = 0
    for message in messages:
        tokens += _MESSAGE_TOKENS + _of(message.get("content")) + _of_text(message.get("tool_calls"))
    return tokens + _of_text(tools)


def _of(content: object) -> int:
    if not isinstance(content, list):
        return _of_text(content)
    return sum(_of_text(part["text"]) if part["type"] == "text" else _PICTURE_TOKENS for part in content)


def _of_text(value: object) -> int:
    if not value:
        return 0
    size = len(value.encode()) if isinstance(value, str) else len(json_line(value))
    return -(-size // _BYTES_A_TOKEN)
