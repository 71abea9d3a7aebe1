"""Log lines that cannot be forged and hold no prompts; metrics that are all documented."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from services.edge.streams import RESUME_OUTCOMES
from shared.settings.settings import Settings
from shared.store.replies import AppendReply, ClaimReply, FinishReply
from shared.store.resume import Step
from shared.telemetry.logging import OWN_LOGGERS, configure_logging
from shared.telemetry.metrics import (
    APPEND_ANSWERS,
    CLAIM_ANSWERS,
    FINISH_ANSWERS,
    LABEL_VALUES,
    Metrics,
    ResumeOutcome,
    process_registry,
)

__all__ = ()

DOCUMENT = Path(__file__).parents[4] / "docs" / "metrics.md"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def untouched_logging() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("", *OWN_LOGGERS)]
    kept = [(logger, logger.level, logger.handlers[:]) for logger in loggers]
    yield
    for logger, level, handlers in kept:
        logger.setLevel(level)
        logger.handlers[:] = handlers


def logged(stream: io.StringIO, **settings: Any) -> logging.Logger:
    configure_logging(Settings(**settings), process="edge", stream=stream)
    return logging.getLogger("services.edge.delivery.tail")


def json_line(stream: io.StringIO) -> dict[str, Any]:
    (line,) = stream.getvalue().splitlines()
    fields: dict[str, Any] = json.loads(line)
    return fields


def test_a_pipe_gets_json_lines() -> None:
    stream = io.StringIO()
    logged(stream).info("ready on %s", "port 8000", extra={"readers": 3})
    line = json_line(stream)
    assert line["time"].endswith("Z")
    del line["time"]
    assert line == {
        "level": "info",
        "process": "edge",
        "logger": "services.edge.delivery.tail",
        "message": "ready on port 8000",
        "readers": 3,
    }


def test_a_terminal_gets_text() -> None:
    stream = Terminal()
    logged(stream).warning("slow", extra={"readers": 3})
    assert "slow readers=3" in stream.getvalue()
    assert "\x1b[33mWARNING\x1b[0m edge" in stream.getvalue()


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Terminal()
    logged(stream).warning("slow")
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize(("style", "is_json"), [("json", True), ("text", False)])
def test_the_format_can_be_chosen(style: str, is_json: bool) -> None:
    for stream in (io.StringIO(), Terminal()):
        logged(stream, log_format=style).info("ready")
        assert stream.getvalue().startswith("{") == is_json


@pytest.mark.parametrize("style", [io.StringIO, Terminal], ids=["json", "text"])
def test_a_message_cannot_forge_a_line(style: type[io.StringIO]) -> None:
    stream = style()
    logged(stream).info("model %s", "x\n12:00:00 ERROR edge  forged\x1b[2J\r\x9b\x85\u2028")
    (line,) = stream.getvalue().splitlines()
    assert "forged" in line
    assert not [char for char in ("\r", "\x9b", "\x85", "\u2028", "\x1b[2J") if char in line]


@pytest.mark.parametrize("style", [io.StringIO, Terminal], ids=["json", "text"])
@pytest.mark.parametrize("name", ["prompt", "messages", "content", "text", "delta", "api_key", "Authorization"])
def test_what_people_wrote_is_withheld(style: type[io.StringIO], name: str) -> None:
    stream = style()
    logged(stream).error("refused", extra={name: "canary"})
    assert "canary" not in stream.getvalue()
    assert "[withheld]" in stream.getvalue()


@pytest.mark.parametrize("value", ["\ud800", 2**80, {1: "one"}, object(), ["\udfff"]])
def test_a_line_is_never_lost_to_its_content(value: object) -> None:
    stream = io.StringIO()
    logged(stream).info("odd", extra={"value": value})
    assert json_line(stream)["message"] == "odd"


@pytest.mark.parametrize("style", [io.StringIO, Terminal], ids=["json", "text"])
def test_an_exception_comes_with_its_traceback(style: type[io.StringIO]) -> None:
    stream = style()
    logger = logged(stream)
    try:
        raise ValueError("broken")
    except ValueError:
        logger.exception("failed")
    assert "Traceback" in stream.getvalue()
    assert "ValueError: broken" in stream.getvalue()


@pytest.mark.parametrize(
    ("level", "ours", "theirs"),
    [("debug", "DEBUG", "INFO"), ("info", "INFO", "WARNING"), ("error", "ERROR", "ERROR")],
)
def test_foreign_loggers_say_less(level: str, ours: str, theirs: str) -> None:
    logged(io.StringIO(), log_level=level)
    assert logging.getLevelName(logging.getLogger("services.worker.attempts.pump").getEffectiveLevel()) == ours
    assert logging.getLevelName(logging.getLogger("aiohttp.client").getEffectiveLevel()) == theirs


def test_configuring_twice_logs_once() -> None:
    first, second = io.StringIO(), io.StringIO()
    logged(first)
    logged(second).info("ready")
    assert first.getvalue() == ""
    assert json_line(second)["message"] == "ready"


def families(registry: CollectorRegistry) -> dict[str, str]:
    """Metric name, as one queries for it, to its help text."""
    text = generate_latest(registry).decode()
    named = text_string_to_metric_families(text)
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: family.documentation for family in named
    }


def names_of_metrics() -> list[str]:
    registry = CollectorRegistry()
    Metrics.on(registry)
    return [name for name in families(registry) if not name.endswith("_created")]


def documented() -> dict[str, list[str]]:
    """Metric name to the cells of its row."""
    lines = [line for line in DOCUMENT.read_text("utf-8").splitlines() if line.startswith("| `")]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return {row[0].strip("`"): row for row in rows}


def test_every_metric_has_our_name_and_says_what_it_counts() -> None:
    registry = CollectorRegistry()
    Metrics.on(registry)
    assert all(name.startswith("tailrace_") and text for name, text in families(registry).items())
    assert len(names_of_metrics()) == len(Metrics.__slots__)


def test_every_metric_is_documented_and_every_documented_metric_exists() -> None:
    assert sorted(documented()) == sorted(names_of_metrics())


def test_types_and_labels_are_documented() -> None:
    metrics, rows = Metrics.on(CollectorRegistry()), documented()
    for metric in (getattr(metrics, name) for name in Metrics.__slots__):
        row = rows[metric._name + ("_total" if metric._type == "counter" else "")]
        assert row[1] == metric._type
        assert all(f"`{label}`" in row[2] for label in metric._labelnames)
        assert bool(metric._labelnames) == bool(row[2])


def test_a_process_has_its_own_registry() -> None:
    one, other = process_registry(), process_registry()
    Metrics.on(one).gaps.inc()
    Metrics.on(other)
    assert b"tailrace_gaps_total 1.0" in generate_latest(one)
    assert b"tailrace_gaps_total 0.0" in generate_latest(other)
    assert "process_resident_memory_bytes" in families(one)


@pytest.mark.parametrize(
    ("replies", "words"),
    [
        (AppendReply, APPEND_ANSWERS),
        (ClaimReply, CLAIM_ANSWERS),
        (FinishReply, FINISH_ANSWERS),
        (Step, RESUME_OUTCOMES),
    ],
    ids=["append", "claim", "finish", "resume"],
)
def test_every_reply_has_a_word_of_its_own(replies: Any, words: dict[type, str]) -> None:
    assert set(words) == set(get_args(replies))
    assert len(set(words.values())) == len(words)


def test_every_outcome_of_a_resume_is_shown() -> None:
    assert set(RESUME_OUTCOMES.values()) == set(get_args(ResumeOutcome))


def test_every_label_has_its_values() -> None:
    metrics = Metrics.on(CollectorRegistry())
    labelled = {name for name in Metrics.__slots__ if getattr(metrics, name)._labelnames}
    assert labelled - set(LABEL_VALUES) == {"provider_chunks", "edge_readers", "events_delivered"}


def test_a_series_begins_at_zero() -> None:
    registry = CollectorRegistry()
    Metrics.on(registry)
    assert registry.get_sample_value("tailrace_claims_total", {"answer": "exhausted"}) == 0.0
