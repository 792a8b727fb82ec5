"""Run tasks on an engine, with progress for the listener and the status file on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from curate.errors import CurateError
from curate.events import Listener
from curate.execution.engine import Engine, TaskResult, label_of
from curate.execution.run_status import RunStatus
from curate.execution.segment import SegmentResult
from curate.execution.summary import Summary


class Interrupted(CurateError):
    """The run was asked to stop. Tasks that were running are finished and committed."""

    exit_code = 130


class TaskRunner:
    """An engine whose progress is shown. `summary` says which shards have failed so far."""

    def __init__(self, engine: Engine, listener: Listener, status: RunStatus, summary: Summary) -> None:
        self._engine, self._listener, self._status, self._summary = engine, listener, status, summary

    def map(
        self, label: str, function: Any, context: Any, tasks: Sequence[Any], resources: Mapping[str, float]
    ) -> Iterator[TaskResult]:
        """Results of `function(context, task)` as they come. Raises Interrupted when the engine was drained."""
        finished = 0
        for outcome in self._engine.map(function, context, tasks, resources):
            if outcome is not None:
                finished += 1
                rows = outcome.result.rows_out if isinstance(outcome.result, SegmentResult) else None
                self._listener.advance(label, label_of(outcome.item), rows)
                yield outcome
            self._listener.tick()
            self._status.progress(label, len(tasks), finished, self._engine.running, self._summary.failed_shards)
        if finished < len(tasks):
            raise Interrupted(f"stopped in {label}: {finished} of {len(tasks)} done. Run the same command to continue.")

    def run_all(self, label: str, function: Any, context: Any, tasks: Sequence[Any], is_done: Callable[[Any], bool]) -> None:
        """Run the tasks that are not done. Raises the first error of a task."""
        todo = [task for task in tasks if not is_done(task)]
        self._listener.phase(label, len(tasks), len(tasks) - len(todo))
        for outcome in self.map(label, function, context, todo, {}):
            if outcome.error:
                raise outcome.error

    def stopped(self, error: CurateError) -> None:
        """Record why the run stopped."""
        self._status.stopped(str(error), self._engine.running, self._summary.failed_shards)
