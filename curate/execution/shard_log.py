"""The log of one attempt at a shard: a small file of JSON lines, written when the attempt is over.

It has a record for the start, for every warning (Python's `warnings`, and log records from WARNING on), for every stage, for
the error that ended the attempt, and for the end. It is no part of a result: a shard without a log is as good as one with it,
a log that cannot be written fails nothing, and an attempt whose worker was killed leaves none. Python shows a warning once per
location and attempt. Warnings beyond MAX_WARNINGS are only counted; long messages, fields and tracebacks are cut. Memory is the
peak of the worker process since it began, which may have been with an earlier shard.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import socket
import sys
import time
import traceback
import uuid
import warnings
from collections.abc import Iterator
from typing import Any

from curate.execution.accounting import StageCounts
from curate.execution.segment import SegmentTask
from curate.logs import StderrHandler, TextFormatter, as_json_line, cut, describe_error, escape_controls, indented, message_of
from curate.storage.run_dir import shard_log
from curate.storage.store import Store

MAX_WARNINGS = 200
"""Warnings of one attempt that are written, and that are shown; further ones are counted only."""
MAX_CHARS = 2_000
"""Longest message of a warning."""
LOGGER = __name__
"""The logger of the records that tell of the attempt itself: start, stage, failed, end."""

logger = logging.getLogger(__name__)
_shown: set[int] = set()
"""Hashes of the warnings that this process has shown where warnings go: each once, as without a log."""
_last_resort = StderrHandler()
"""Writes what `logging.lastResort` would, with control characters escaped."""
_last_resort.setFormatter(TextFormatter())


class _ShardLog(logging.Handler):
    """Collects the records of one attempt. As a handler, it gets the log records of all packages."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self.num_warnings = 0
        self.stages: dict[str, StageCounts] = {}
        """Counts of the stages so far; whoever runs the shard fills it."""

    def add(self, level: str, message: str, fields: Any, name: str = LOGGER, traceback: str = "") -> None:
        self.lines.append(as_json_line(time.time(), level, name, message, fields, traceback))

    def warn(self, level: str, name: str, message: str, fields: Any) -> None:
        self.num_warnings += 1
        if self.num_warnings <= MAX_WARNINGS:
            self.add(level, cut(message, MAX_CHARS), fields, name)

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "py.warnings":  # a warning that logging captured; it has been collected as a warning
            return
        self.warn(record.levelname, record.name, message_of(record), getattr(record, "fields", {}))
        if logging.getLogger().handlers == [self] and logging.lastResort:
            _last_resort.handle(record)  # as without this handler

    def add_stages(self) -> None:
        for name, counts in self.stages.items():
            dropped = sum(counts.dropped.values())
            rows = {"rows_in": counts.rows_in, "rows_out": counts.rows_out, "dropped": dropped, "failed": counts.failed}
            self.add("INFO", "stage", {"stage": name, **rows, "seconds": round(counts.seconds, 3)})


@contextlib.contextmanager
def logged(store: Store, segment: str, task: SegmentTask) -> Iterator[_ShardLog]:
    """Log an attempt at a shard. The caller fills `stages` of the log with the counts of its stages."""
    started, shard = time.time(), task.shard.name
    log = _ShardLog()
    process = {"host": socket.gethostname(), "pid": os.getpid(), "isolated": task.isolate}
    log.add("INFO", "start", {"segment": segment, "shard": shard, "bytes": task.shard.size, **process})
    error: BaseException | None = None
    try:
        with _collected_by(log):
            yield log
    except BaseException as raised:
        error = raised
        raise
    finally:
        try:
            log.add_stages()
            if error is not None:
                text = "".join(traceback.format_exception(error))
                log.add("ERROR", "failed", {"error": describe_error(error)}, traceback=text)
            last = list(log.stages.values())[-1:]
            end = {
                "state": "done" if error is None else "failed",
                "seconds": round(time.time() - started, 3),
                "rows_out": last[0].rows_out if last else 0,
                "peak_memory_bytes": _peak_memory_bytes(),
                "warnings": log.num_warnings,
            }
            log.add("INFO", "end", end)
            store.write_text(shard_log(segment, shard, _attempt(started)), "\n".join(log.lines) + "\n", flush=False)
        except Exception as failure:  # every object store has its own errors, and none is worth a shard
            logger.warning("the log of shard %s was not written: %s", shard, failure)


@contextlib.contextmanager
def _collected_by(log: _ShardLog) -> Iterator[None]:
    """Send log records and warnings to `log`, and to where they went before: of warnings, the first MAX_WARNINGS."""
    root = logging.getLogger()
    num_hidden = 0
    if len(_shown) >= MAX_WARNINGS:
        _shown.clear()
    with warnings.catch_warnings():
        show = warnings.showwarning

        def collect(
            message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
        ) -> None:
            nonlocal num_hidden
            text = str(message)
            log.warn("WARNING", "warnings", f"{category.__name__}: {text}", {"file": filename, "line": lineno})
            if (warning := hash((text, category, filename, lineno))) in _shown:
                return
            if len(_shown) >= MAX_WARNINGS:
                num_hidden += 1
                return
            _shown.add(warning)
            safe = indented(escape_controls(cut(text, MAX_CHARS)))
            show(message if safe == text else safe, category, filename, lineno, file, line)

        warnings.showwarning = collect
        root.addHandler(log)
        try:
            yield
        finally:
            root.removeHandler(log)
            if num_hidden:
                logger.warning("%d more warnings are not shown; the log of the shard counts them", num_hidden)


def _attempt(seconds: float) -> str:
    """A name that no other attempt has. Names sort by time."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds))
    return f"{stamp}{int(seconds % 1 * 1e6):06d}Z-{uuid.uuid4().hex[:4]}"


def _peak_memory_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
