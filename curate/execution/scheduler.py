"""Schedule the tasks of a run: segment after segment over its shards, and the global stages between them."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import Any

from curate.api.source import Shard
from curate.errors import CurateError, DataError
from curate.events import Listener
from curate.execution.accounting import SOURCE
from curate.execution.engine import TaskResult
from curate.execution.global_stages.execute import counts_of_decision, run_global_stage
from curate.execution.global_stages.partition import Context
from curate.execution.run_checks import check_expectations, check_file_splits
from curate.execution.segment import SegmentTask, load_result
from curate.execution.summary import Summary
from curate.execution.task_runner import TaskRunner
from curate.execution.worker import run_segment_task
from curate.pipeline.plan import Plan
from curate.pipeline.steps import Segment
from curate.storage.run_dir import failed_shard, failed_shards

logger = logging.getLogger(__name__)


class Scheduler:
    """Runs segments and global stages. Shards that are done are found by their manifests and not run again."""

    def __init__(
        self, plan: Plan, context: Context, shards: Sequence[Shard], tasks: TaskRunner, listener: Listener, summary: Summary
    ) -> None:
        self._plan, self._context, self._store = plan, context, context.store
        self._tasks, self._listener, self._summary = tasks, listener, summary
        self.shards = list(shards)
        """Shards of the run. Under a limit, those that were reached."""

    @property
    def alive(self) -> list[Shard]:
        """The shards that have not failed."""
        return [shard for shard in self.shards if shard.name not in self._summary.failed_shards]

    def run_global_stage(self, segment: Segment) -> None:
        """Make the decision of the global stage before a segment."""
        assert segment.global_stage is not None

        def run_all(label: str, function: Any, tasks: Sequence[Any], is_done: Callable[[Any], bool]) -> None:
            self._tasks.run_all(label, function, self._context, tasks, is_done)

        run_global_stage(self._plan, segment, self._store, self.alive, run_all)
        if counts := counts_of_decision(self._store, segment):
            self._summary.decision_counts[segment.global_stage.name] = counts

    def run_segment(self, segment: Segment) -> None:
        """Run the shards that are not done. Raises the error of a shard, unless it is one that the pipeline tolerates."""
        self._load_failures(segment)
        limit = self._plan.limit if segment.index == 0 else None
        shards, todo = self.alive, []
        for shard in shards:
            task = SegmentTask(segment.index, shard)
            if limit is None and (result := load_result(self._store, segment, task)):
                self._summary.add(result)
            else:
                todo.append(task)
        self._listener.phase(segment.name, len(shards), len(shards) - len(todo))
        if limit is not None:
            self._run_limited(segment, todo, limit)
        else:
            for outcome in self._tasks.map(segment.name, run_segment_task, self._context, todo, segment.resources):
                self._settle(segment, outcome)
            if segment.index == 0:
                check_file_splits(self._store, segment, self.shards, self._summary.failed_shards)
        check_expectations(segment, self._summary, final=True)

    def _run_limited(self, segment: Segment, todo: Sequence[SegmentTask], left: int) -> None:
        """One shard after the other, so that exactly the first `left` documents in canonical order are read."""
        reached: list[Shard] = []
        for task in todo:
            if left <= 0:
                break
            limited = dataclasses.replace(task, limit=left)
            result = load_result(self._store, segment, limited)
            if result:
                self._summary.add(result)
            else:
                (outcome,) = self._tasks.map(segment.name, run_segment_task, self._context, [limited], segment.resources)
                self._settle(segment, outcome)
                result = outcome.result
            if result:
                left -= result.stages[SOURCE].rows_in
                reached.append(task.shard)
        self.shards = reached

    def _settle(self, segment: Segment, outcome: TaskResult) -> None:
        if outcome.error:
            self._tolerate(segment, outcome.item.shard.name, outcome.error)
        else:
            result = outcome.result
            fields = {"segment": segment.name, "shard": result.task.shard.name, "rows_out": result.rows_out}
            logger.debug("shard done", extra={"fields": {**fields, "seconds": round(result.seconds, 3)}})
            self._summary.add(result)
            check_expectations(segment, self._summary, final=False)

    def _load_failures(self, segment: Segment) -> None:
        for name in self._store.list(failed_shards(segment.name)):
            shard = name.removesuffix(".json")
            self._summary.failed_shards[shard] = self._store.read_json(failed_shard(segment.name, shard))

    def _tolerate(self, segment: Segment, shard: str, error: CurateError) -> None:
        """Record a shard that cannot be read. Raises any other error, and DataError above `max_failed_shards`."""
        allowed = self._plan.pipeline.max_failed_shards
        if not isinstance(error, DataError):
            raise error
        failed = {**self._summary.failed_shards, shard: str(error)}
        if len(failed) > allowed:
            raise DataError(
                f"{error} ({len(failed)} failed shards, max_failed_shards is {allowed}. "
                "Repair or remove the input, or allow more in the pipeline file.)"
            ) from error
        self._summary.failed_shards = failed
        # On record, so that a continued run leaves out the same documents, even if the shard can be read by then.
        self._store.write_json(failed_shard(segment.name, shard), str(error))
        self._listener.note(f"failed shard {shard}: {error}")
