"""Content that is a list of parts instead of a text: what each part says, and as what.

Mistral's thinking models, Databricks, and gateways that hand on the parts of another dialect. A part whose type is not
known is no reason to lose the answer: it is counted.
"""

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from shared.errors import ProviderMalformed

__all__ = ("Part", "parts_of")

# What a part says, by its type: the members that may hold it, and what it is.
_SAYS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "text": ("text", ("text",)),
    "output_text": ("text", ("text",)),
    "summary_text": ("reasoning", ("text",)),
    "reasoning_text": ("reasoning", ("text",)),
    "thinking": ("reasoning", ("thinking", "text")),
    "reasoning": ("reasoning", ("summary", "content", "reasoning", "text")),
    "refusal": ("refusal", ("refusal", "text")),
}
_FILES: Final = frozenset({"image_url", "image", "output_image", "input_image", "image_file", "file"})
_ANNOTATIONS: Final = frozenset({"reference", "citation", "url_citation", "file_citation"})
# Members of a part that the next turn needs.
_SIGNATURES: Final = ("signature", "encrypted_content", "thought_signature", "data")
_MOST_DEPTH: Final = 4


class Part(NamedTuple):
    """`kind` is text, reasoning or refusal with a text; `file`, `annotation` or `data` with an object; or `unknown`."""

    kind: str
    value: Any


def parts_of(value: object, kind: str, *, depth: int = 0) -> Iterator[Part]:
    """The parts of a content; a plain text is `kind`. Raises `ProviderMalformed` for what is no text, part or list."""
    if value is None or value == "":
        return
    if isinstance(value, str):
        yield Part(kind, value)
    elif isinstance(value, list) and depth < _MOST_DEPTH:
        for each in value:
            yield from parts_of(each, kind, depth=depth + 1)
    elif isinstance(value, dict) and depth < _MOST_DEPTH:
        yield from _of_object(value, kind, depth + 1)
    else:
        raise ProviderMalformed


def _of_object(part: dict[str, Any], kind: str, depth: int) -> Iterator[Part]:
    named = part.get("type")
    if named is not None and not isinstance(named, str):
        raise ProviderMalformed
    if named in _FILES:
        yield Part("file", part)
        return
    if named in _ANNOTATIONS:
        yield Part("annotation", part)
        return
    if signed := {name: part[name] for name in _SIGNATURES if isinstance(part.get(name), str) and part[name]}:
        yield Part("data", {"type": named, **signed})
    says = (kind, ("text", "value")) if named is None else _SAYS.get(named)
    if says is None:
        if not signed and part:
            yield Part("unknown", named)
        return
    said, members = says
    # Inside reasoning a plain text is reasoning, too.
    said = kind if said == "text" and kind != "text" else said
    for name in members:
        if part.get(name):
            yield from parts_of(part[name], said, depth=depth)
            break
    annotations = part.get("annotations")
    for each in annotations if isinstance(annotations, list) else ():
        yield Part("annotation", each)
