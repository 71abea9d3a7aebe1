"""What a process tells its operator: log lines and metrics. Neither ever holds a prompt, an answer or a key.

Third-party loggers speak from `warning` on, at level `debug` from `info` on: their debug lines print bodies.
"""

import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal, Self, TextIO, get_args

import orjson
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
)

from shared.errors import MemoryPressure, StoreError, StoreFull
from shared.events import TERMINAL_KINDS
from shared.lineage import ResetReason
from shared.settings import Settings
from shared.store import (
    Appended,
    AppendReply,
    Claimed,
    ClaimReply,
    Closed,
    Ended,
    Eviction,
    Exhausted,
    Fenced,
    FinishReply,
    Gone,
    Held,
    TailMismatch,
)

__all__ = (
    "APPEND_ANSWERS",
    "APPEND_FAILED",
    "CLAIM_ANSWERS",
    "FINISH_ANSWERS",
    "LABEL_VALUES",
    "OWN_LOGGERS",
    "JsonLines",
    "Metrics",
    "ResumeOutcome",
    "TextLines",
    "configure_logging",
    "counted",
    "process_registry",
)

OWN_LOGGERS: Final = ("shared", "services")

# Attributes of every record; what else is found on one came through `extra=`.
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}
# The last net, for a slip in a log call: these names carry what people wrote or secrets.
_WITHHELD: Final = frozenset(
    {"answer", "api_key", "arguments", "authorization", "body", "content", "delta", "messages", "prompt", "request"}
    | {"password", "secret", "text"}
)
# A line break in a message would let a model or a header forge a log line, an escape repaint the terminal.
_C1_AND_SEPARATORS: Final = (*range(127, 160), 0x2028, 0x2029)
_CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(32), *_C1_AND_SEPARATORS)} | {10: "\\n", 13: "\\r"}
_JSON_ESCAPES: Final = {code: f"\\u{code:04x}" for code in _C1_AND_SEPARATORS}
_COLOURS: Final = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}

# Chosen where the promises are: a first token in tens of milliseconds, a resume within a second.
_FIRST_TOKEN_BUCKETS_S: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
_BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)

# Words for the store's replies in labels and log lines. Never the names of classes: dashboards must outlive a renaming.
APPEND_ANSWERS: Final[Mapping[type[AppendReply], str]] = {
    Appended: "ok",
    TailMismatch: "tail",
    Fenced: "fenced",
    Closed: "closed",
    Gone: "gone",
}
# No answer but an error; `store_errors` has its code.
APPEND_FAILED: Final = "failed"
CLAIM_ANSWERS: Final[Mapping[type[ClaimReply], str]] = {
    Claimed: "claimed",
    Held: "held",
    Exhausted: "exhausted",
    Closed: "closed",
    Gone: "gone",
}
FINISH_ANSWERS: Final[Mapping[type[FinishReply], str]] = {
    Ended: "ended",
    Held: "held",
    Closed: "closed",
    Gone: "gone",
}
ResumeOutcome = Literal["resumed", "up_to_date", "reset", "gap", "gone"]


def _codes(error: type[StoreError]) -> Iterator[str]:
    for derived in error.__subclasses__():
        yield derived.code
        yield from _codes(derived)


# All values of the labels whose values Tailrace knows beforehand. `wire` and `provider` are known to who counts.
LABEL_VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    "streams_ended": tuple(sorted(TERMINAL_KINDS)),
    "appends": (*APPEND_ANSWERS.values(), APPEND_FAILED),
    "resumes": get_args(ResumeOutcome),
    "resets": get_args(ResetReason),
    "store_errors": tuple(_codes(StoreError)),
    "claims": tuple(CLAIM_ANSWERS.values()),
    "compactions": ("live", "finished"),
    "evictions": get_args(Eviction),
    "creates_refused": (MemoryPressure.code, StoreFull.code),
    "store_bytes": ("streams", "store"),
}


def configure_logging(settings: Settings, *, process: str, stream: TextIO | None = None) -> None:
    """Log to standard error: text on a terminal, one JSON object a line otherwise (`TAILRACE_LOG_FORMAT` decides else).

    `process` names this one among its siblings, e.g. `edge`. Calling it again replaces what the first call set up.
    """
    stream = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_formatter(settings.log_format, process, stream))
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO if level == logging.DEBUG else max(level, logging.WARNING))
    for name in OWN_LOGGERS:
        logging.getLogger(name).setLevel(level)


def _formatter(style: str, process: str, stream: TextIO) -> logging.Formatter:
    terminal = stream.isatty()
    if style == "json" or (style == "auto" and not terminal):
        return JsonLines(process)
    return TextLines(process, colour=terminal and not os.environ.get("NO_COLOR"))


class JsonLines(logging.Formatter):
    """One JSON object a line: time (ISO 8601, UTC), level, process, logger, message, what `extra=` gave, error."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "message": record.getMessage(),
            **_extras(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode().translate(_JSON_ESCAPES)
        except orjson.JSONEncodeError:
            # A lone surrogate or a huge integer; a log line must not be lost to its content.
            return json.dumps(line, default=str, skipkeys=True)


class TextLines(logging.Formatter):
    """`12:34:56.789 INFO    edge  ready on port 8000 readers=3`, coloured by level on a terminal."""

    def __init__(self, process: str, *, colour: bool) -> None:
        super().__init__()
        self._process = process
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        clock = _time(record).astimezone().strftime("%H:%M:%S.%f")[:-3]
        extras = "".join(f" {name}={value}" for name, value in _extras(record).items())
        words = f"{record.getMessage()}{extras}".translate(_CONTROLS)
        line = f"{clock} {self._level(record)} {self._process}  {words}"
        if not record.exc_info:
            return line
        trace = self.formatException(record.exc_info).splitlines()
        return "\n".join([line, *(each.translate(_CONTROLS) for each in trace)])

    def _level(self, record: logging.LogRecord) -> str:
        level = f"{record.levelname:<7}"
        return f"\x1b[{_COLOURS.get(record.levelname, '0')}m{level}\x1b[0m" if self._colour else level


def _time(record: logging.LogRecord) -> datetime:
    return datetime.fromtimestamp(record.created, UTC)


def _extras(record: logging.LogRecord) -> dict[str, Any]:
    found = {name: value for name, value in vars(record).items() if name not in _STANDARD}
    return {name: "[withheld]" if name.lower() in _WITHHELD else value for name, value in found.items()}


def counted(counter: Counter) -> int:
    """What a counter stands at, all its labels together."""
    return round(
        sum(sample.value for family in counter.collect() for sample in family.samples if sample.name.endswith("_total"))
    )


def process_registry() -> CollectorRegistry:
    """A registry of its own for one process, with Python's and the system's figures about it."""
    registry = CollectorRegistry(auto_describe=True)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


@dataclass(frozen=True, slots=True)
class Metrics:
    """Every metric of Tailrace. Labels take few values, never a stream id. Documented in docs/metrics.md."""

    streams_created: Counter
    streams_ended: Counter
    appends: Counter
    append_batch_events: Histogram
    provider_chunks: Counter
    time_to_first_token: Histogram
    edge_readers: Gauge
    events_delivered: Counter
    resumes: Counter
    resets: Counter
    gaps: Counter
    slow_readers_cut: Counter
    tail_reads: Counter
    tail_entries: Counter
    store_errors: Counter
    claims: Counter
    compactions: Counter
    evictions: Counter
    trimmed_units: Counter
    creates_refused: Counter
    edge_feed_bytes: Gauge
    worker_buffer_bytes: Gauge
    store_bytes: Gauge
    store_drift_bytes: Gauge
    store_real_ratio: Gauge

    @classmethod
    def on(cls, registry: CollectorRegistry) -> Self:
        """Register all of them; edge and worker each count what they do and leave the rest at zero."""

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"tailrace_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"tailrace_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"tailrace_{name}", text, buckets=buckets, registry=registry)

        metrics = cls(
            streams_created=counter("streams_created_total", "Streams created by this edge."),
            streams_ended=counter("streams_ended_total", "Streams ended by this process, by final status.", "status"),
            appends=counter("appends_total", "Appends, by the store's answer.", "answer"),
            append_batch_events=histogram("append_batch_events", "Events in one batch of appends.", _BATCH_BUCKETS),
            provider_chunks=counter("provider_chunks_total", "Events decoded from a provider.", "provider"),
            time_to_first_token=histogram(
                "time_to_first_token_seconds", "From asking a provider to its first token.", _FIRST_TOKEN_BUCKETS_S
            ),
            edge_readers=Gauge("tailrace_edge_readers", "Readers attached now, by wire.", ["wire"], registry=registry),
            events_delivered=counter("events_delivered_total", "Events handed to readers' transports.", "wire"),
            resumes=counter("resumes_total", "Connections that came with a cursor, by what it was worth.", "outcome"),
            resets=counter("resets_total", "Readers told to throw away what they hold.", "reason"),
            gaps=counter("gaps_total", "Readers told that a part of the stream is gone."),
            slow_readers_cut=counter("slow_readers_cut_total", "Readers cut off because they took nothing."),
            tail_reads=counter("tail_reads_total", "Reads of the shared tail."),
            tail_entries=counter("tail_entries_total", "Entries the shared tail brought."),
            store_errors=counter("store_errors_total", "Refusals and failures of the store, by code.", "code"),
            claims=counter("claims_total", "Claims of streams, by the store's answer.", "answer"),
            compactions=counter("compactions_total", "Compactions this worker did, by state of the stream.", "of"),
            evictions=counter("evictions_total", "Finished streams this worker removed, and why.", "why"),
            trimmed_units=counter("trimmed_units_total", "Units that went because a stream passed its byte budget."),
            creates_refused=counter("creates_refused_total", "Streams this edge refused to create, by code.", "code"),
            edge_feed_bytes=gauge("edge_feed_bytes", "Recent frames this edge keeps."),
            worker_buffer_bytes=gauge("worker_buffer_bytes", "Text in this worker that Redis has not acknowledged."),
            store_bytes=gauge("store_bytes", "Bytes of all streams, as the store counts them.", "of"),
            store_drift_bytes=gauge("store_drift_bytes", "What the last recount of a bucket had to correct."),
            store_real_ratio=gauge(
                "store_real_ratio", "Memory that sampled streams really take, over what is counted for them."
            ),
        )
        metrics._show_every_value()
        return metrics

    def _show_every_value(self) -> None:
        """Begin each series at zero: a rate over one that appears with its first event misses that event."""
        for name, values in LABEL_VALUES.items():
            for value in values:
                getattr(self, name).labels(value)
