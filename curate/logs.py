"""Logging of the package: formats, and what the command line shows. Loggers have the names of their modules.

A log record may carry fields, plain values of JSON: `logger.info("...", extra={"fields": {"shard": name}})`. As JSON, a record
is one object per line with the keys time (ISO 8601, UTC), level, logger, message and those of its fields. Control characters
are escaped in every format, so that text from documents cannot send control sequences to a terminal. As text, further lines
of a message are indented, so that a message cannot look like two records. Long messages and fields are cut. A record that
cannot be formatted is replaced by one that says so: logging never raises.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TextIO

MAX_CHARS = 20_000
"""Longest message and longest traceback of a record."""
MAX_FIELD_CHARS = 2_000
"""Longest value of a field, as JSON."""
MAX_FIELDS = 32

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def escape_controls(text: str) -> str:
    r"""Control characters, marks of text direction and lone surrogates as escapes; tabs and line ends stay.

    >>> escape_controls("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    return _CONTROL.sub(lambda match: match.group().encode("unicode_escape").decode(), text)


def escape_json_controls(text: str) -> str:
    r"""The same characters of a JSON text as JSON's own escapes.

    >>> escape_json_controls('{"title": "a\x9b31mb"}')
    '{"title": "a\\u009b31mb"}'
    """
    return _CONTROL.sub(lambda match: f"\\u{ord(match.group()):04x}", text)


def indented(text: str) -> str:
    """The text with every line but the first indented."""
    return text.replace("\n", "\n    ")


def cut(text: str, limit: int) -> str:
    """The first and last characters of a text, `limit` in all, around the number of those left out.

    >>> cut("abcdefghij", 4)
    'ab...[6 characters cut]...ij'
    """
    if len(text) <= limit:
        return text
    tail = limit // 2
    return f"{text[: limit - tail]}...[{len(text) - limit:,} characters cut]...{text[len(text) - tail :]}"


def describe_error(error: BaseException) -> str:
    """Type and message of an error, which any file can hold: lone surrogates are escaped.

    An error whose message cannot be had is described by its type.

    >>> describe_error(ValueError("seven"))
    'ValueError: seven'
    """
    try:
        return f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace").decode()
    except Exception:
        return type(error).__name__


def message_of(record: logging.LogRecord) -> str:
    """The message of a log record. Where its arguments do not fit, a message that says so."""
    try:
        return record.getMessage()
    except Exception as error:
        return f"a log record could not be formatted: {describe_error(error)} ({record.filename}:{record.lineno})"


def utc(seconds: float) -> str:
    """A time as ISO 8601 with milliseconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03d}Z"


def as_json_line(seconds: float, level: str, logger: str, message: str, fields: Any, traceback: str = "") -> str:
    """One record as a line of JSON, in ASCII. Fields cannot replace the keys of every record.

    Fields that are no mapping become one field, `fields`. A value that JSON cannot hold becomes a text that says so.
    """
    texts = {"level": str(level), "logger": cut(str(logger), MAX_FIELD_CHARS), "message": cut(message, MAX_CHARS)}
    record = {"time": utc(seconds), **texts, **({"traceback": cut(traceback, MAX_CHARS)} if traceback else {})}
    try:
        named = list(fields.items()) if isinstance(fields, Mapping) else [("fields", fields)]
        own = {cut(str(name), MAX_FIELD_CHARS): _json_value(value) for name, value in named[:MAX_FIELDS]}
        left_out = {"fields_left_out": len(named) - MAX_FIELDS} if len(named) > MAX_FIELDS else {}
        return json.dumps({**record, **own, **left_out, **record})
    except Exception as error:
        return json.dumps({**record, "fields": cut(f"could not be formatted: {describe_error(error)}", MAX_FIELD_CHARS)})


def _json_value(value: Any) -> Any:
    """The value as JSON holds it, cut to MAX_FIELD_CHARS."""
    try:
        if isinstance(value, str):
            return cut(value, MAX_FIELD_CHARS)
        text = json.dumps(value, default=str)
        return json.loads(text) if len(text) <= MAX_FIELD_CHARS else cut(text, MAX_FIELD_CHARS)
    except Exception as error:
        return cut(f"could not be formatted: {describe_error(error)}", MAX_FIELD_CHARS)


class JsonFormatter(logging.Formatter):
    """Log records as lines of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        traceback = self.formatException(record.exc_info) if record.exc_info else ""
        fields = getattr(record, "fields", {})
        return as_json_line(record.created, record.levelname, record.name, message_of(record), fields, traceback)


class TextFormatter(logging.Formatter):
    """Log records as text for people."""

    def format(self, record: logging.LogRecord) -> str:
        try:
            text = super().format(record)
        except Exception:
            text = f"{record.levelname} {record.name}: {message_of(record)}"
        return indented(escape_controls(cut(text.rstrip("\n"), MAX_CHARS)))


class StderrHandler(logging.StreamHandler[TextIO]):
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
    """Send log records and warnings to stderr. A second call replaces the first."""
    handler = StderrHandler()
    handler.setFormatter(JsonFormatter() if options.log_json else TextFormatter("%(levelname)s %(name)s: %(message)s"))
    handler.set_name("curate")
    root = logging.getLogger()
    for old in [old for old in root.handlers if old.get_name() == "curate"]:
        root.removeHandler(old)
    root.addHandler(handler)
    logging.captureWarnings(False)  # it does nothing a second time, even where showwarning was restored since
    logging.captureWarnings(True)
    level = logging.DEBUG if options.verbose else logging.INFO if options.log_json else logging.WARNING
    handler.setLevel(logging.ERROR if options.quiet else logging.DEBUG)
    logging.getLogger("curate").setLevel(logging.ERROR if options.quiet else level)
