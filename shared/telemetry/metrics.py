"""Metrics, and the values of their labels. None ever holds a prompt, an answer or a key.

Third-party loggers speak from `warning` on, at level `debug` from `info` on: their debug lines print bodies.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, Self, get_args

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
from shared.log.events import TERMINAL_KINDS
from shared.log.lineage import ResetReason
from shared.store.calls import Eviction
from shared.store.replies import (
    Appended,
    AppendReply,
    Claimed,
    ClaimReply,
    Closed,
    Ended,
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
    "Metrics",
    "ResumeOutcome",
    "counted",
    "process_registry",
)


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
ResumeOutcome = Literal["resumed", "renamed", "up_to_date", "reset", "gap", "gone"]


def _codes(error: type[StoreError]) -> Iterator[str]:
    for derived in error.__subclasses__():
        yield derived.code
        yield from _codes(derived)


# All values of the labels that this module can know. Those of `wire` are the registry's: the edge shows them, and the
# docs are compared with it; those of `provider` are the operator's.
LABEL_VALUES: Final[Mapping[str, tuple[str, ...]]] = {
    "streams_ended": tuple(sorted(TERMINAL_KINDS)),
    "appends": (*APPEND_ANSWERS.values(), APPEND_FAILED),
    "resumes": get_args(ResumeOutcome),
    "resets": get_args(ResetReason),
    "store_errors": tuple(_codes(StoreError)),
    "claims": tuple(CLAIM_ANSWERS.values()),
    "compactions": ("live", "finished"),
    "compaction_failures": ("live", "finished"),
    "evictions": get_args(Eviction),
    "creates_refused": (MemoryPressure.code, StoreFull.code),
    "store_bytes": ("streams", "store"),
    "provider_unknown": (
        "annotation",
        "chunk",
        "content_part",
        "delta_field",
        "file",
        "provider_data",
        "usage",
    ),
    "queue_jobs": ("queued", "held", "stuck"),
}


def counted(counter: Counter) -> int:
    """Return the value of a counter, all its labels together."""
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
    provider_unknown: Counter
    time_to_first_token: Histogram
    edge_readers: Gauge
    events_delivered: Counter
    resumes: Counter
    resets: Counter
    gaps: Counter
    slow_readers_cut: Counter
    connections_refused: Counter
    tail_reads: Counter
    tail_entries: Counter
    store_errors: Counter
    claims: Counter
    compactions: Counter
    compaction_failures: Counter
    evictions: Counter
    trimmed_units: Counter
    creates_refused: Counter
    edge_feed_bytes: Gauge
    worker_buffer_bytes: Gauge
    store_bytes: Gauge
    store_drift_bytes: Gauge
    store_real_ratio: Gauge
    workers: Gauge
    worker_streams: Gauge
    queue_jobs: Gauge
    queue_wait_seconds: Gauge
    queue_freed: Counter

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
            provider_unknown=counter(
                "provider_unknown_total", "What providers said and nobody understood, or was too large.", "what"
            ),
            time_to_first_token=histogram(
                "time_to_first_token_seconds", "From asking a provider to its first token.", _FIRST_TOKEN_BUCKETS_S
            ),
            edge_readers=Gauge("tailrace_edge_readers", "Readers attached now, by wire.", ["wire"], registry=registry),
            events_delivered=counter("events_delivered_total", "Events handed to readers' transports.", "wire"),
            resumes=counter("resumes_total", "Connections that came with a cursor, by what it was worth.", "outcome"),
            resets=counter("resets_total", "Readers told to throw away what they hold.", "reason"),
            gaps=counter("gaps_total", "Readers told that a part of the stream is gone."),
            slow_readers_cut=counter("slow_readers_cut_total", "Readers cut off because they took nothing."),
            connections_refused=counter(
                "edge_connections_refused_total", "Connections refused for want of file descriptors."
            ),
            tail_reads=counter("tail_reads_total", "Reads of the shared tail."),
            tail_entries=counter("tail_entries_total", "Entries the shared tail brought."),
            store_errors=counter("store_errors_total", "Refusals and failures of the store, by code.", "code"),
            claims=counter("claims_total", "Claims of streams, by the store's answer.", "answer"),
            compactions=counter("compactions_total", "Compactions this worker did, by state of the stream.", "of"),
            compaction_failures=counter(
                "compaction_failures_total", "Folds that the store refused, by state of the stream.", "of"
            ),
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
            workers=gauge("workers", "Workers that announced themselves within the last seconds and take jobs."),
            worker_streams=gauge("worker_streams", "Streams that this worker is pulling."),
            queue_jobs=gauge("queue_jobs", "Jobs in the queue: all, held by a worker, and stuck.", "of"),
            queue_wait_seconds=gauge("queue_wait_seconds", "How long the first job of the queue has waited."),
            queue_freed=counter("queue_freed_total", "Jobs this worker freed that were stuck in the queue."),
        )
        metrics._show_every_value()
        return metrics

    def _show_every_value(self) -> None:
        """Begin each series at zero: a rate over one that appears with its first event misses that event."""
        for name, values in LABEL_VALUES.items():
            for value in values:
                getattr(self, name).labels(value)
