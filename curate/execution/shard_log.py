"""The log of one attempt at a shard: a small file of JSON lines, written when the attempt is over.

It has a record for the start, for every warning (Python's `warnings`, and log records from WARNING on), for every stage, for
the error that ended the attempt, and for the end. It is no part of a result: a shard without a log is as good as one with it,
a log that cannot be written fails nothing, and an attempt whose worker was killed leaves none. Python shows a warning once per
location and attempt. Memory is the peak of the worker process since it began, which may have been with an earlier shard.
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
from curate.logs import as_json_line
from curate.storage.run_dir import shard_log
from curate.storage.store import Store

MAX_WARNINGS = 200
"""Warnings that are written; further ones are counted only."""
MAX_CHARS = 2_000
"""Longest message of a warning."""
MAX_TRACEBACK_CHARS = 20_000

logger = logging.getLogger(__name__)
_shown: set[tuple[str, type[Warning], str, int]] = set()
"""Warnings that this process has shown where warnings go: each once, as without a log."""


class _ShardLog(logging.Handler):
    """Collects the records of one attempt. As a handler, it gets the log records of all packages."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self.num_warnings = 0
        self.stages: dict[str, StageCounts] = {}
        """Counts of the stages so far; whoever runs the shard fills it."""

    def add(self, level: str, message: str, fields: dict[str, Any], name: str = __name__) -> None:
        self.lines.append(as_json_line(time.time(), level, name, message, fields))

    def warn(self, level: str, name: str, message: str, fields: dict[str, Any]) -> None:
        self.num_warnings += 1
        if self.num_warnings <= MAX_WARNINGS:
            self.add(level, message[:MAX_CHARS], fields, name)

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "py.warnings":  # a warning that logging captured; it has been collected as a warning
            return
        self.warn(record.levelname, record.name, record.getMessage(), dict(getattr(record, "fields", {})))
        if logging.getLogger().handlers == [self] and logging.lastResort:
            logging.lastResort.handle(record)  # as without this handler

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
        log.add_stages()
        if error is not None:
            text = "".join(traceback.format_exception(error))[-MAX_TRACEBACK_CHARS:]
            log.add("ERROR", "failed", {"error": f"{type(error).__name__}: {error}", "traceback": text})
        last = list(log.stages.values())[-1:]
        end = {
            "state": "done" if error is None else "failed",
            "seconds": round(time.time() - started, 3),
            "rows_out": last[0].rows_out if last else 0,
            "peak_memory_bytes": _peak_memory_bytes(),
            "warnings": log.num_warnings,
        }
        log.add("INFO", "end", end)
        try:
            store.write_text(shard_log(segment, shard, _attempt(started)), "\n".join(log.lines) + "\n", flush=False)
        except Exception as failure:  # every object store has its own errors, and none is worth a shard
            logger.warning("the log of shard %s was not written: %s", shard, failure)


@contextlib.contextmanager
def _collected_by(log: _ShardLog) -> Iterator[None]:
    """Send log records and warnings to `log`, and to where they went before."""
    root = logging.getLogger()
    with warnings.catch_warnings():
        show = warnings.showwarning

        def collect(
            message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
        ) -> None:
            log.warn("WARNING", "warnings", f"{category.__name__}: {message}", {"file": filename, "line": lineno})
            if (warning := (str(message), category, filename, lineno)) not in _shown:
                _shown.add(warning)
                show(message, category, filename, lineno, file, line)

        warnings.showwarning = collect
        root.addHandler(log)
        try:
            yield
        finally:
            root.removeHandler(log)


def _attempt(seconds: float) -> str:
    """A name that no other attempt has. Names sort by time."""
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds))
    return f"{stamp}{int(seconds % 1 * 1e6):06d}Z-{uuid.uuid4().hex[:4]}"


def _peak_memory_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
