"""The status file of a run: what `curate status` shows while the run goes on, and why it stopped."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any

from curate.errors import TransientError
from curate.execution.engine import label_of
from curate.storage.run_dir import STATUS
from curate.storage.store import Store

EVERY_S = 2.0


class RunStatus:
    """Writes the status file, at most once in EVERY_S seconds. `failed_shards` is read each time."""

    def __init__(self, store: Store, started: float) -> None:
        self._store, self._started = store, started
        self._written_at = 0.0

    def progress(
        self, phase: str, total: int, finished: int, running: Mapping[Any, float], failed_shards: Mapping[str, str]
    ) -> None:
        """Write how far a phase is. `running` maps tasks to the times at which they began."""
        if time.time() - self._written_at >= EVERY_S:
            self._write(phase, total, finished, running, failed_shards, None)

    def stopped(self, error: str, running: Mapping[Any, float], failed_shards: Mapping[str, str]) -> None:
        """Write why the run stopped, at once. A store that cannot be written is ignored: why it stopped matters more."""
        with contextlib.suppress(OSError, TransientError):
            self._write("stopped", 0, 0, running, failed_shards, error)

    def delete(self) -> None:
        self._store.delete(STATUS)

    def _write(
        self, phase: str, total: int, finished: int, running: Mapping[Any, float], failed_shards: Mapping[str, str],
        error: str | None,
    ) -> None:  # fmt: skip
        self._written_at = now = time.time()
        status = {
            "phase": phase,
            "total": total,
            "finished": finished,
            "running": {label_of(task): round(since, 1) for task, since in running.items()},
            "time": round(now, 1),
            "error": error,
            "started": round(self._started, 1),
            "failed": failed_shards,
        }
        self._store.write_json(STATUS, status)
