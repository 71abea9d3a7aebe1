"""What a client of each wire makes of the bytes it gets: written apart from the wires, on purpose.

A new wire brings one class and one line in `HEARINGS`; the cases in `test_every_wire.py` then are about it, too.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from tests.support.sse_client import History, NdjsonParser, SseParser
from tests.wires.openai_responses.hearing import ResponsesHearing

__all__ = ("HEARINGS", "Hearing", "Spoken")

# Kind and text of each part, as `tests.support.script.expected` has it.
Spoken = list[tuple[str, str]]


class Hearing(Protocol):
    """A client that folds what it hears. `ending` is how the stream ended, as the log has it, or what broke it off."""

    @property
    def ending(self) -> str | None: ...

    @property
    def beats(self) -> int: ...

    @property
    def starts(self) -> int: ...

    def feed(self, received: bytes) -> None: ...

    def spoken(self) -> Spoken: ...

    def calls(self) -> list[tuple[int, str, str]]:
        """Number, id and name of each tool call."""
        ...


class NativeHearing:
    """Our own events, checked one by one as they come."""

    def __init__(self, parser: SseParser | NdjsonParser) -> None:
        self.history = History()
        self.beats = 0
        self._parser = parser

    @property
    def ending(self) -> str | None:
        return (self.history.ending or {}).get("code") or (self.history.ending or {}).get("type")

    @property
    def starts(self) -> int:
        return self.history.starts

    def feed(self, received: bytes) -> None:
        for item in self._parser.feed(received):
            self.beats += item.data is None and item.retry_ms is None
            self.history.take(item)

    def spoken(self) -> Spoken:
        return self.history.spoken()

    def calls(self) -> list[tuple[int, str, str]]:
        calls = [part for part in self.history.parts if part["type"] == "tool_call"]
        return [(number, part["id"], part["name"]) for number, part in enumerate(calls)]


class PrototypeHearing:
    """Chunks of the prototype."""

    def __init__(self) -> None:
        self.ending: str | None = None
        self.beats = 0
        self.starts = 0
        self._rest = b""
        self._at = 0
        self._spoken: Spoken = []
        self._calls: list[tuple[int, str, str]] = []
        self._is_done = False

    def feed(self, received: bytes) -> None:
        *lines, self._rest = (self._rest + received).split(b"\n")
        for line in lines:
            assert not self._is_done or not line, line
            if line.startswith(b":"):
                self.beats += 1
            elif line == b"data: [DONE]":
                self._is_done = True
                assert self.ending not in {None, "gone", "reset", "gap", "cancelled"}
            elif line:
                self._take(json.loads(line.removeprefix(b"data: ")))

    def spoken(self) -> Spoken:
        return self._spoken

    def calls(self) -> list[tuple[int, str, str]]:
        return self._calls

    def _take(self, chunk: dict[str, Any]) -> None:
        assert self.ending is None, chunk
        if "error" in chunk:
            self.ending = chunk["error"]["code"]
            return
        delta = chunk["delta"]
        if "role" in delta:
            self.starts += 1
            return
        assert chunk["at"] > self._at
        self._at = chunk["at"]
        if "finish_reason" in chunk:
            self.ending = "done"
        for call in delta.get("tool_calls", ()):
            self._call(call)
        for kind, name in (("text", "content"), ("reasoning", "reasoning_content"), ("refusal", "refusal")):
            if name in delta:
                self._say(kind, delta[name], is_new=False)

    def _call(self, call: dict[str, Any]) -> None:
        is_new = "id" in call
        if is_new:
            assert call["index"] == len(self._calls)
            self._calls.append((call["index"], call["id"], call["function"]["name"]))
        self._say("tool_call", call["function"]["arguments"], is_new=is_new)

    def _say(self, kind: str, text: str, *, is_new: bool) -> None:
        if is_new or not self._spoken or self._spoken[-1][0] != kind:
            self._spoken.append((kind, ""))
        self._spoken[-1] = (kind, self._spoken[-1][1] + text)


class OpenAiHearing:
    """Chat completion chunks, as a careful client of OpenAI's takes them."""

    def __init__(self, *, has_usage: bool = False) -> None:
        self.ending: str | None = None
        self.beats = 0
        self.starts = 0
        self._has_usage = has_usage
        self._rest = b""
        self._spoken: Spoken = []
        self._calls: list[tuple[int, str, str]] = []
        self._ids: set[str] = set()
        self._is_done = False

    def feed(self, received: bytes) -> None:
        *lines, self._rest = (self._rest + received).split(b"\n")
        for line in lines:
            assert not self._is_done or not line, line
            if line.startswith(b":"):
                self.beats += 1
            elif line == b"data: [DONE]":
                self._is_done = True
                assert self.ending in {"done", "usage"}
                assert (self.ending == "usage") is self._has_usage
                self.ending = "done"
            elif line:
                assert line.startswith(b"data: ")
                self._take(json.loads(line.removeprefix(b"data: ")))

    def spoken(self) -> Spoken:
        return self._spoken

    def calls(self) -> list[tuple[int, str, str]]:
        return self._calls

    def _take(self, chunk: dict[str, Any]) -> None:
        if "error" in chunk:
            assert self.ending is None, chunk
            assert chunk["error"].keys() == {"message", "type", "param", "code"}
            # A reset cannot be said in chunks; the shared suite calls it by its own name.
            self.ending = {"attempt_restarted": "reset"}.get(chunk["error"]["code"], chunk["error"]["code"])
            return
        self._ids.add(chunk["id"])
        assert (chunk["object"], len(self._ids)) == ("chat.completion.chunk", 1)
        if not chunk["choices"]:
            assert self.ending == "done"
            assert chunk["usage"]["total_tokens"] >= 0
            self.ending = "usage"
            return
        assert self.ending is None, chunk
        (choice,) = chunk["choices"]
        self._choice(choice["delta"])
        if choice["finish_reason"] is not None:
            self.ending = "done"

    def _choice(self, delta: dict[str, Any]) -> None:
        if "role" in delta:
            self.starts += 1
            return
        for call in delta.get("tool_calls", ()):
            if "id" in call:
                assert (call["index"], call["type"]) == (len(self._calls), "function")
                self._calls.append((call["index"], call["id"], call["function"]["name"]))
            self._say("tool_call", call["function"]["arguments"], is_new="id" in call)
        for kind, name in (("text", "content"), ("reasoning", "reasoning_content"), ("refusal", "refusal")):
            if name in delta:
                self._say(kind, delta[name], is_new=False)

    def _say(self, kind: str, text: str, *, is_new: bool) -> None:
        if is_new or not self._spoken or self._spoken[-1][0] != kind:
            self._spoken.append((kind, ""))
        self._spoken[-1] = (kind, self._spoken[-1][1] + text)


class AnthropicHearing:
    """Events of Anthropic's Messages API, held against the rules that its SDKs keep."""

    def __init__(self) -> None:
        self.ending: str | None = None
        self.beats = 0
        self.starts = 0
        self._rest = b""
        self._name = ""
        self._blocks: list[dict[str, Any]] = []
        self._open: set[int] = set()
        self._is_stopped = False

    def feed(self, received: bytes) -> None:
        *lines, self._rest = (self._rest + received).split(b"\n")
        for line in lines:
            if line.startswith(b":"):
                self.beats += 1
            elif line.startswith(b"event: "):
                self._name = line.removeprefix(b"event: ").decode()
            elif line:
                event = json.loads(line.removeprefix(b"data: "))
                assert event["type"] == self._name
                self._take(event)

    def spoken(self) -> Spoken:
        kinds = {"text": "text", "thinking": "reasoning", "tool_use": "tool_call"}
        return [(kinds[block["type"]], block["said"]) for block in self._blocks if block["said"] or "id" in block]

    def calls(self) -> list[tuple[int, str, str]]:
        calls = [block for block in self._blocks if block["type"] == "tool_use"]
        return [(number, call["id"], call["name"]) for number, call in enumerate(calls)]

    def _take(self, event: dict[str, Any]) -> None:
        assert not self._is_stopped
        match event["type"]:
            case "error":
                self.ending = {"attempt_restarted": "reset"}.get(event["error"]["code"], event["error"]["code"])
            case "message_start":
                assert not self._blocks
                self.starts += 1
            case "content_block_start":
                assert event["index"] == len(self._blocks)
                self._blocks.append({**event["content_block"], "said": ""})
                self._open.add(event["index"])
            case "content_block_delta":
                assert event["index"] in self._open
                self._delta(self._blocks[event["index"]], event["delta"])
            case "content_block_stop":
                self._open.remove(event["index"])
            case "message_delta":
                assert not self._open
                assert event["delta"]["stop_reason"]
                self.ending = "done"
            case "message_stop":
                assert self.ending == "done"
                self._is_stopped = True
            case kind:
                raise AssertionError(kind)

    def _delta(self, block: dict[str, Any], delta: dict[str, Any]) -> None:
        wanted = {
            "text": ("text_delta", "text"),
            "thinking": ("thinking_delta", "thinking"),
            "tool_use": ("input_json_delta", "partial_json"),
        }
        name, member = wanted[block["type"]]
        if delta["type"] == "signature_delta":
            assert block["type"] == "thinking"
            return
        assert delta["type"] == name
        block["said"] += delta[member]


class AiSdkHearing:
    """UI message chunks, held against the rules of `processUIMessageStream`, which throws where this asserts."""

    def __init__(self, *, opens: str = "start") -> None:
        self.ending: str | None = None
        self.beats = 0
        self.starts = 0
        self._opens = opens
        self._rest = b""
        self._parts: list[list[str]] = []
        self._open: dict[str, list[str]] = {}
        self._inputs: dict[str, list[str]] = {}
        self._named: list[tuple[int, str, str]] = []
        self._is_finished = self._is_done = False

    def feed(self, received: bytes) -> None:
        *lines, self._rest = (self._rest + received).split(b"\n")
        for line in lines:
            assert not self._is_done or not line, line
            if line.startswith(b":"):
                self.beats += 1
            elif line == b"data: [DONE]":
                self._is_done = True
                assert self._is_finished
            elif line:
                assert line.startswith(b"data: ")
                self._take(json.loads(line.removeprefix(b"data: ")))

    def spoken(self) -> Spoken:
        return [(kind, text) for kind, text in self._parts]

    def calls(self) -> list[tuple[int, str, str]]:
        return self._named

    def _take(self, chunk: dict[str, Any]) -> None:
        kind = chunk["type"]
        assert not self._is_finished, chunk
        assert kind == "finish" or self.ending is None, chunk
        if kind == self._opens:
            self.starts += 1
        if kind == "reset-step":
            self._parts, self._open, self._inputs, self._named = [], {}, {}, []
        elif kind in {"text-start", "reasoning-start"}:
            assert chunk["id"] not in self._open
            is_refusal = "refusal" in chunk.get("providerMetadata", {}).get("tailrace", {})
            self._parts.append(["refusal" if is_refusal else kind.removesuffix("-start"), ""])
            self._open[chunk["id"]] = self._parts[-1]
        elif kind in {"text-delta", "reasoning-delta"}:
            self._open[chunk["id"]][1] += chunk["delta"]
        elif kind in {"text-end", "reasoning-end"}:
            del self._open[chunk["id"]]
        elif kind.startswith("tool-input-"):
            self._input(kind, chunk)
        else:
            self._about_the_message(kind, chunk)

    def _input(self, kind: str, chunk: dict[str, Any]) -> None:
        if kind == "tool-input-start":
            self._parts.append(["tool_call", ""])
            self._inputs[chunk["toolCallId"]] = self._parts[-1]
            self._named.append((len(self._named), chunk["toolCallId"], chunk["toolName"]))
            return
        part = self._inputs[chunk["toolCallId"]]
        if kind == "tool-input-delta":
            part[1] += chunk["inputTextDelta"]
        elif kind == "tool-input-error":
            assert chunk["input"] == part[1]
        else:
            assert chunk["input"] == json.loads(part[1] or "{}")

    def _about_the_message(self, kind: str, chunk: dict[str, Any]) -> None:
        if kind == "finish":
            assert chunk["finishReason"] in {"stop", "length", "content-filter", "tool-calls", "error", "other"}
            self._is_finished = True
            self.ending = self.ending or "done"
        elif kind == "error":
            assert isinstance(chunk["errorText"], str)
            self.ending = chunk["code"]
        elif kind == "abort":
            self.ending = "cancelled"
        elif kind == "finish-step":
            assert not self._open
        else:
            assert kind in {"start", "start-step", "source-url", "file", "data-annotation"}, chunk


class AgUiHearing:
    """Events of AG-UI, held against the rules of its client's `verifyEvents`, which throws where this asserts."""

    def __init__(self) -> None:
        self.ending: str | None = None
        self.beats = 0
        self.starts = 0
        self.ids: list[str] = []
        self._rest = b""
        self._parts: list[list[str]] = []
        self._said: dict[str, list[str]] = {}
        self._open: set[str] = set()
        self._spans: set[str] = set()
        self._named: list[tuple[int, str, str]] = []

    def feed(self, received: bytes) -> None:
        *lines, self._rest = (self._rest + received).split(b"\n")
        for line in lines:
            if line.startswith(b":"):
                self.beats += 1
            elif line.startswith(b"id: "):
                self.ids.append(line[4:].decode())
            elif line:
                assert line.startswith(b"data: ")
                self._take(json.loads(line.removeprefix(b"data: ")))

    def spoken(self) -> Spoken:
        return [(kind, text) for kind, text in self._parts]

    def calls(self) -> list[tuple[int, str, str]]:
        return self._named

    def _take(self, event: dict[str, Any]) -> None:
        assert self.ending is None, event
        match event["type"]:
            case "RUN_STARTED":
                self.starts += 1
            case "RUN_ERROR":
                assert isinstance(event["message"], str)
                self.ending = {"attempt_restarted": "reset"}.get(event["code"], event["code"])
            case "RUN_FINISHED":
                assert not self._open | self._spans
                self.ending = {"success": "done"}.get(event["outcome"]["type"], event["outcome"]["type"])
            case "REASONING_START":
                assert event["messageId"] not in self._spans
                self._spans.add(event["messageId"])
            case "REASONING_END":
                self._spans.remove(event["messageId"])
            case "MESSAGES_SNAPSHOT":
                assert not self._open | self._spans
                self._replace(event["messages"])
            case "CUSTOM" | "REASONING_ENCRYPTED_VALUE":
                pass
            case kind:
                self._piece(kind, event)

    def _piece(self, kind: str, event: dict[str, Any]) -> None:
        about = event["toolCallId"] if kind.startswith("TOOL_CALL") else event["messageId"]
        if kind.endswith("_START"):
            assert about not in self._open
            self._open.add(about)
            if about not in self._said:
                self._begin(about, {"TEX": "text", "REA": "reasoning", "TOO": "tool_call"}[kind[:3]])
                if kind == "TOOL_CALL_START":
                    self._named.append((len(self._named), about, event["toolCallName"]))
            return
        assert about in self._open
        if kind.endswith("_END"):
            self._open.remove(about)
        else:
            assert kind.endswith(("_CONTENT", "_ARGS"))
            self._said[about][1] += event["delta"]

    def _begin(self, about: str, kind: str, text: str = "") -> None:
        self._parts.append([kind, text])
        self._said[about] = self._parts[-1]

    def _replace(self, messages: list[dict[str, Any]]) -> None:
        self._parts, self._said, self._named = [], {}, []
        for message in messages:
            if message["role"] in {"assistant", "reasoning"} and message["content"]:
                kind = "text" if message["role"] == "assistant" else "reasoning"
                self._begin(message["id"], kind, message["content"])
            for call in message.get("toolCalls", ()):
                self._begin(call["id"], "tool_call", call["function"]["arguments"])
                self._named.append((len(self._named), call["id"], call["function"]["name"]))


HEARINGS: Final[Mapping[str, Callable[[], Hearing]]] = {
    "sse": lambda: NativeHearing(SseParser()),
    "ndjson": lambda: NativeHearing(NdjsonParser()),
    "responses": ResponsesHearing,
    "prototype": PrototypeHearing,
    "ag-ui": AgUiHearing,
    "anthropic": AnthropicHearing,
    "openai": OpenAiHearing,
    "openai-usage": lambda: OpenAiHearing(has_usage=True),
    "ai-sdk": AiSdkHearing,
    "ai-sdk-again": lambda: AiSdkHearing(opens="reset-step"),
    "ai-sdk-anew": AiSdkHearing,
    "ai-sdk-6": AiSdkHearing,
}
