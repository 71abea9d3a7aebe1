"""Log lines: text on a terminal, one JSON object a line otherwise; never a prompt, an answer or a key."""

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import orjson

from shared.settings.settings import Settings

__all__ = ("OWN_LOGGERS", "JsonLines", "TextLines", "configure_logging")


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


logger = logging.getLogger(__name__)


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
