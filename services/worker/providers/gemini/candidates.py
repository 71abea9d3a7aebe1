"""Frames of Gemini's `streamGenerateContent` to events. Each is a whole response with the next parts in it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from services.worker.providers.frames.counts import count_in, counted, total_of
from services.worker.providers.frames.telling import Telling, dumped
from services.worker.providers.provider import UNKNOWN_REASON
from services.worker.providers.refusal import error_inside
from shared.errors import ProviderFailed, ProviderMalformed, ProviderRejected
from shared.log.events import MAX_EVENT_BYTES, Event, delta

__all__ = ("CandidateAnswer",)

_FILTERED: Final = frozenset(
    [
        "SAFETY",
        "RECITATION",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
        "IMAGE_PROHIBITED_CONTENT",
        "IMAGE_RECITATION",
        "IMAGE_OTHER",
        "MODEL_ARMOR",
        "ESCALATION",
        "PUP_LIMITED_DISABLED",
    ]
)
# The model erred; asked again it may do better.
_BROKEN_OFF: Final = frozenset(
    [
        "MALFORMED_FUNCTION_CALL",
        "MALFORMED_RESPONSE",
        "UNEXPECTED_TOOL_CALL",
        "TOO_MANY_TOOL_CALLS",
        "NO_IMAGE",
        "OTHER",
        "LANGUAGE",
    ]
)
_REASONS: Final = {"STOP": "stop", "MAX_TOKENS": "length", **dict.fromkeys(_FILTERED, "content_filter")}
_NO_REASONS: Final = frozenset({"FINISH_REASON_UNSPECIFIED", "CONTINUATION"})
# What the provider did by itself: nothing for a reader.
_ITS_OWN: Final = frozenset({"executableCode", "codeExecutionResult", "toolCall", "toolResponse"})


class CandidateAnswer:
    """See `Answer`. Calls come whole."""

    __slots__ = ("_reason", "_told", "usage")

    is_over = False

    def __init__(self) -> None:
        self.usage: dict[str, int] | None = None
        self._reason: str | None = None
        self._told = Telling()

    @property
    def reason(self) -> str | None:
        return "tool_calls" if self._reason == "stop" and self._told.calls else self._reason

    @property
    def unknown(self) -> Mapping[str, int]:
        return self._told.unknown

    def take(self, frame: dict[str, Any]) -> Sequence[Event]:
        if frame.get("error"):
            self._reason = None
            raise error_inside(frame["error"])
        usage, candidates = frame.get("usageMetadata"), frame.get("candidates")
        if type(usage) is dict:
            self._count(usage)
        if type(candidates) is not list or not candidates:
            return self._without_candidates(frame)
        candidate = candidates[0]
        if type(candidate) is not dict:
            raise ProviderMalformed
        events = self._parts(candidate.get("content"))
        if candidate.get("finishReason") is not None:
            self._end(candidate["finishReason"], events)
        if candidate.get("groundingMetadata") or candidate.get("citationMetadata"):
            events = [*events, *self._sources(candidate)]
        return events

    def rest(self) -> Sequence[Event]:
        return ()

    def _parts(self, content: object) -> Sequence[Event]:
        parts = content.get("parts") if type(content) is dict else None
        if not parts:
            return ()
        if type(parts) is not list:
            raise ProviderMalformed
        if len(parts) == 1:
            return self._part(parts[0])
        return [event for part in parts for event in self._part(part)]

    def _part(self, part: Any) -> Sequence[Event]:
        if type(part) is not dict:
            raise ProviderMalformed
        text = part.get("text")
        if type(text) is str:
            if text and len(part) == 1:
                event = delta("text", text)
                if event.size <= MAX_EVENT_BYTES:
                    return (event,)
            said = self._told.say("reasoning" if part.get("thought") else "text", text)
            return [*said, *self._told.sign(signed)] if (signed := _signature(part)) else said
        if "functionCall" in part:
            return self._call(part)
        if "inlineData" in part:
            data = part["inlineData"] if isinstance(part["inlineData"], dict) else {}
            return self._told.file(data.get("mimeType"), data.get("data"))
        if not _ITS_OWN.isdisjoint(part):
            return ()
        if signed := _signature(part):
            return self._told.sign(signed)
        if part:
            self._told.count("content_part")
        return ()

    def _call(self, part: dict[str, Any]) -> Sequence[Event]:
        call = part["functionCall"]
        if type(call) is not dict:
            raise ProviderMalformed
        return self._told.open(call.get("id"), call.get("name"), dumped(call.get("args")), data=_signature(part))

    def _end(self, reason: object, events: Sequence[Event]) -> None:
        if not isinstance(reason, str) or reason in _NO_REASONS:
            return
        if reason == "MISSING_THOUGHT_SIGNATURE":
            self._reason = None
            raise ProviderRejected
        if reason in _BROKEN_OFF:
            self._reason = None
            raise ProviderFailed
        self._reason = _REASONS.get(reason, UNKNOWN_REASON)

    def _without_candidates(self, frame: dict[str, Any]) -> Sequence[Event]:
        feedback = frame.get("promptFeedback")
        if isinstance(feedback, dict) and feedback.get("blockReason"):
            self._reason = "content_filter"
        elif "usageMetadata" not in frame:
            self._told.count("chunk")
        return ()

    def _sources(self, candidate: Mapping[str, Any]) -> Sequence[Event]:
        """The pages that an answer rests on, in the form that annotations have."""
        events: list[Event] = []
        for web in _webs(candidate.get("groundingMetadata")):
            cited = {"url": web.get("uri"), "title": web.get("title") or ""}
            events += self._told.annotate({"type": "url_citation", "url_citation": cited})
        citations = candidate.get("citationMetadata")
        found = citations.get("citationSources") or citations.get("citations") if isinstance(citations, dict) else ()
        for each in found if isinstance(found, list) else ():
            events += self._told.annotate(each)
        return events

    def _count(self, usage: dict[str, Any]) -> None:
        counts = counted(
            input_tokens=total_of(usage, "promptTokenCount", "toolUsePromptTokenCount"),
            output_tokens=total_of(usage, "candidatesTokenCount", "thoughtsTokenCount"),
            total_tokens=count_in(usage, "totalTokenCount"),
            reasoning_tokens=count_in(usage, "thoughtsTokenCount"),
            cached_tokens=count_in(usage, "cachedContentTokenCount"),
        )
        if counts is not None:
            self.usage = {**(self.usage or {}), **counts}


def _signature(part: Mapping[str, Any]) -> dict[str, Any] | None:
    """The signature of a part, where Gemini's compatible API has it, so that one form goes back to both."""
    signature = part.get("thoughtSignature")
    if not isinstance(signature, str) or not signature:
        return None
    return {"extra_content": {"google": {"thought_signature": signature}}}


def _webs(grounding: object) -> list[dict[str, Any]]:
    chunks = grounding.get("groundingChunks") if isinstance(grounding, dict) else None
    found = [each.get("web") for each in chunks if isinstance(each, dict)] if isinstance(chunks, list) else []
    return [web for web in found if isinstance(web, dict) and web.get("uri")]
