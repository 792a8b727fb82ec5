"""Logging of the package: formats, and what the command line shows. Loggers have the names of their modules.

A log record may carry fields, plain values of JSON: `logger.info("...", extra={"fields": {"shard": name}})`. As JSON, a record
is one object per line with the keys time (ISO 8601, UTC), level, logger, message and those of its fields. Control characters
are escaped in every format, so that text from documents cannot send control sequences to a terminal.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from dataclasses import dataclass
from typing import Any, TextIO

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def escape_controls(text: str) -> str:
    r"""Control characters and marks of text direction as escapes; tabs and line ends stay.

    >>> escape_controls("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    return _CONTROL.sub(lambda match: match.group().encode("unicode_escape").decode(), text)


def utc(seconds: float) -> str:
    """A time as ISO 8601 with milliseconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03d}Z"


def as_json_line(seconds: float, level: str, logger: str, message: str, fields: dict[str, Any]) -> str:
    """One record as a line of JSON, in ASCII. Fields cannot replace the four keys of every record."""
    record = {"time": utc(seconds), "level": level, "logger": logger, "message": message}
    return json.dumps({**record, **{name: value for name, value in fields.items() if name not in record}}, default=str)


class JsonFormatter(logging.Formatter):
    """Log records as lines of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        fields = dict(getattr(record, "fields", {}))
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return as_json_line(record.created, record.levelname, record.name, record.getMessage(), fields)


class TextFormatter(logging.Formatter):
    """Log records as text for people."""

    def format(self, record: logging.LogRecord) -> str:
        return escape_controls(super().format(record))


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what is sys.stderr at the time: progress bars put something else there."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


@dataclass
class LogOptions:
    """What the command line writes to stderr."""

    verbose: bool = False
    """All records from DEBUG on. Records of other packages from WARNING on, as always."""
    quiet: bool = False
    """Only errors."""
    log_json: bool = False
    """One JSON object per line instead of text; progress is logged, too."""


def configure(options: LogOptions) -> None:
    """Send log records to stderr. A second call replaces the first."""
    handler = _StderrHandler()
    handler.setFormatter(JsonFormatter() if options.log_json else TextFormatter("%(levelname)s %(name)s: %(message)s"))
    handler.set_name("curate")
    root = logging.getLogger()
    for old in [old for old in root.handlers if old.get_name() == "curate"]:
        root.removeHandler(old)
    root.addHandler(handler)
    logging.captureWarnings(options.quiet or options.log_json)
    level = logging.DEBUG if options.verbose else logging.INFO if options.log_json else logging.WARNING
    handler.setLevel(logging.ERROR if options.quiet else logging.DEBUG)
    logging.getLogger("curate").setLevel(logging.ERROR if options.quiet else level)
