"""Turns of a conversation in the blocks of Anthropic's API."""

from collections.abc import Iterator, Sequence
from typing import Any

from services.worker.providers.conversation.turns import Call, Media, Part, Result, Said, Thought, Turn
from shared.errors import ProviderRejected, ProviderUnsupported

__all__ = ("messages_of", "system_of")


def system_of(turns: Sequence[Turn]) -> str:
    """The system turns before all others; there is one place for them."""
    return "\n\n".join(turn.text for turn in turns if turn.role == "system")


def messages_of(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """The other turns; neighbours of one role are one message, as results of tools are a user's words here."""
    messages: list[dict[str, Any]] = []
    for turn in turns:
        if turn.role == "system":
            continue
        role = "assistant" if turn.role == "assistant" else "user"
        blocks = [block for part in turn.parts for block in _blocks(part)]
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += blocks
        elif blocks:
            messages.append({"role": role, "content": blocks})
    if not messages:
        raise ProviderRejected("messages: there is nothing but a system turn.")
    _trim_prefill(messages)
    return messages


def _trim_prefill(messages: list[dict[str, Any]]) -> None:
    """A last assistant text must not end in white space."""
    last = messages[-1]
    if last["role"] == "assistant" and last["content"][-1]["type"] == "text":
        last["content"][-1]["text"] = last["content"][-1]["text"].rstrip()
        if not last["content"][-1]["text"]:
            raise ProviderRejected("messages: the last assistant turn is blank.")


def _blocks(part: Part) -> Iterator[dict[str, Any]]:
    match part:
        case Said(text):
            # An empty text block is an error.
            if text.strip():
                yield {"type": "text", "text": text}
        case Media():
            yield _media(part)
        case Thought(text, data):
            yield from _thought(text, dict(data))
        case Call(call_id, name, arguments):
            yield {"type": "tool_use", "id": call_id, "name": name, "input": arguments}
        case Result(call_id, _, content):
            blocks = [block for each in content for block in _blocks(each)]
            yield {"type": "tool_result", "tool_use_id": call_id, "content": blocks}


def _thought(text: str, data: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Thinking goes back only with the signature that proves it; without one it is refused."""
    if isinstance(data.get("signature"), str) and data["signature"]:
        yield {"type": "thinking", "thinking": text, "signature": data["signature"]}
    elif data.get("type") == "redacted_thinking" and isinstance(data.get("data"), str):
        yield {"type": "redacted_thinking", "data": data["data"]}


def _media(part: Media) -> dict[str, Any]:
    if part.kind == "image" or part.media_type.startswith("image/"):
        return {"type": "image", "source": _source(part)}
    if part.kind != "file":
        raise ProviderUnsupported(f"messages: this model provider takes no {part.kind}.")
    title = {"title": part.name} if part.name else {}
    return {"type": "document", "source": _source(part), **title}


def _source(part: Media) -> dict[str, Any]:
    if part.file_id:
        return {"type": "file", "file_id": part.file_id}
    if part.url:
        return {"type": "url", "url": part.url}
    return {"type": "base64", "media_type": part.media_type, "data": part.data}
