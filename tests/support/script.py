"""What a scripted provider says: a pure function of (key, attempt, k), so that every byte of an answer can be checked.

The script is the last user message of the request, as JSON: `{"key": "abc", "chunks": 200, "kinds": "mixed", "fault":
{"kind": "cut", "after": 50, "times": 1}}`. Everything but `key` has a default.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import blake2b
from itertools import count, groupby
from typing import Any, Self

__all__ = (
    "HAZARDS",
    "Fault",
    "Script",
    "Step",
    "expected",
    "expected_text",
    "piece",
    "prefix_of",
    "script_of",
    "steps",
)

# What some client, proxy or careless line reader has stumbled over. One piece in four carries one.
HAZARDS = (
    "\n",
    "\r",
    "\r\n",
    "\n\n",
    "\x00",
    "\u0085",
    "\u2028",
    "\u2029",
    "\ufeff",
    "\t",
    '"',
    "\\",
    "\\ud83d",
    "\\n",
    "</script>",
    "<!--",
    "[DONE]",
    "data:",
    "data: [DONE]\n\n",
    "id: 1\nevent: error\n",
    ": comment\n",
    "é",
    "e\u0301",
    "a\u0300\u0316\u0352",
    "漢字かな",
    "한국어",
    "שלום",
    "😀",
    "👩\u200d👩\u200d👧",
    "🇫🇷",
    "\U0001d518\U0001d52b",
    "\U0010ffff",
)


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that goes wrong.

    Instead of an answer: `hangup`, `slow_header`, `status` (with `status` and `retry_after`), `redirect`, `html`,
    `json_error`. After `after` chunks: `silence`, `comments` (and nothing else), `cut` (within an event), `reset`
    (the same with an RST), `eof`, `bad_chunking`, `error_frame`, `error_event`, `error_reason`, `malformed`.
    At the end: `done_twice`, `no_done`, `no_finish`, `no_trailer` (silent after the finish reason), `after_finish`,
    `after_done`, `endless`.

    It strikes the first `times` requests of its key; 0 means every one.
    """

    kind: str
    after: int = 0
    times: int = 0
    status: int = 500
    retry_after: str | None = None


@dataclass(frozen=True, slots=True)
class Script:
    """One answer: `chunks` deltas at `rate` a second (0: as fast as they are taken).

    `kinds="mixed"` is reasoning, then text, then one tool call; `agent` is in `agent.py`. With `vary` each attempt that
    does not continue another says something else. Pieces are at least `piece_bytes` long. Writes are `split` bytes (0:
    a chunk) and `pause_s` apart. When continuing, the last `repeat` characters are said again.
    """

    key: str
    chunks: int = 20
    rate: float = 0
    kinds: str = "text"
    vary: bool = False
    finish: str = "stop"
    usage: bool = True
    newline: str = "\n"
    split: int = 0
    pause_s: float = 0
    piece_bytes: int = 0
    surrogates: bool = False
    repeat: int = 0
    fault: Fault | None = None

    def prompt(self) -> str:
        """The message that makes a scripted provider play this."""
        plain = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "fault"}
        if self.fault:
            plain["fault"] = asdict(self.fault)
        return json.dumps(plain)

    def messages(self) -> list[dict[str, str]]:
        return [{"role": "user", "content": self.prompt()}]

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The script in a message, or `None` if the message is something else."""
        try:
            values = json.loads(text)
        except ValueError:
            return None
        if not isinstance(values, dict) or "key" not in values:
            return None
        fault = values.pop("fault", None)
        return cls(**values, fault=Fault(**fault) if fault else None)


@dataclass(frozen=True, slots=True)
class Step:
    """One delta: `kind` is `text`, `reasoning` or `tool_call`; the text of the latter is a piece of its arguments."""

    kind: str
    text: str


def piece(key: str, k: int, attempt: int = 0) -> str:
    """The text of chunk `k`; never empty, and unlike its neighbours."""
    digest = blake2b(f"{key}/{attempt}/{k}".encode(), digest_size=8).digest()
    word = f" {digest[2:5].hex()}"
    if digest[0] % 4:
        return word
    hazard = HAZARDS[digest[1] % len(HAZARDS)]
    return hazard + word if digest[6] % 2 else word + hazard


def steps(script: Script, *, attempt: int = 0, said: str = "") -> Iterator[Step]:
    """The deltas of a request. `said` is text that the answer so far ends with: only what follows it is given."""
    attempt = attempt if script.vary else 0
    third = script.chunks // 3 if script.kinds == "mixed" else 0
    if not said:
        yield from (Step("reasoning", _text(script, f"{script.key}:reasoning", k, attempt)) for k in range(third))
    yield from _unsaid(_texts(script, script.chunks - 2 * third, attempt), said, script.repeat)
    arguments = _arguments(script, third, attempt)
    size = -(-len(arguments) // third) if third else 1
    yield from (Step("tool_call", arguments[i : i + size]) for i in range(0, len(arguments), size))


def expected(script: Script, *, attempt: int = 0) -> list[tuple[str, str]]:
    """The whole text of each part, in order, as readers have to get it. A continued answer is no different."""
    runs = groupby(steps(script, attempt=attempt), key=lambda step: step.kind)
    return [(kind, _scalar("".join(step.text for step in run))) for kind, run in runs]


def expected_text(script: Script, *, attempt: int = 0) -> str:
    return "".join(text for kind, text in expected(script, attempt=attempt) if kind == "text")


def script_of(messages: Sequence[Mapping[str, Any]]) -> Script | None:
    """The script in the last user message that is one. A later user message may ask to go on."""
    prompts = (content_of(message) for message in reversed(messages) if message.get("role") == "user")
    return next(filter(None, map(Script.parse, prompts)), None)


def prefix_of(messages: Sequence[Mapping[str, Any]]) -> str:
    """What the assistant has said since the script: the part of the answer that is there already."""
    said: list[str] = []
    for message in messages:
        if message.get("role") == "assistant":
            said.append(content_of(message))
        elif Script.parse(content_of(message)):
            said.clear()
    return "".join(said)


def content_of(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def _scalar(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _texts(script: Script, chunks: int, attempt: int) -> Iterator[str]:
    endless = script.fault is not None and script.fault.kind == "endless"
    return (_text(script, script.key, k, attempt) for k in (count() if endless else range(chunks)))


def _unsaid(texts: Iterator[str], said: str, repeat: int) -> Iterator[Step]:
    if said and repeat:
        yield Step("text", said[-repeat:])
    left = said
    for text in texts:
        known = min(len(left), len(text))
        if text[:known] != left[:known]:
            raise ValueError("the answer so far is not what this script says")
        left = left[known:]
        if known < len(text):
            yield Step("text", text[known:])


def _text(script: Script, key: str, k: int, attempt: int) -> str:
    text = piece(key, k, attempt)
    if script.surrogates:
        # Low, text, high: at each seam of two deltas a pair is cut in two.
        text = f"\ude00{text}\ud83d"
    if script.piece_bytes:
        text *= -(-script.piece_bytes // len(text.encode(errors="replace")))
    return text


def _arguments(script: Script, chunks: int, attempt: int) -> str:
    if not chunks:
        return ""
    query = "".join(piece(f"{script.key}:tool", k, attempt) for k in range(chunks))
    return json.dumps({"query": query, "limit": chunks}, ensure_ascii=False)
