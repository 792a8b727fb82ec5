"""What a worker process does: one task at a time, with models loaded once and kept. It does not depend on Ray."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from curate.api.batch import Batch, Kernel
from curate.execution.global_stages.partition import Context
from curate.execution.open_stages import open_decision, open_kernels, with_response_log
from curate.execution.segment import SegmentResult, SegmentTask, run_segment
from curate.execution.shard_log import logged
from curate.pipeline.steps import Segment, Step

_opened: dict[tuple[str, str], list[tuple[Step, Kernel]]] = {}


def run_segment_task(context: Context, task: SegmentTask) -> SegmentResult:
    """Run one shard through one segment, and log the attempt. The segment's kernels stay open for the next shard."""
    segment = context.plan.segments[task.segment]
    with logged(context.store, segment.name, task) as log:
        return run_segment(context.plan, task, context.store, _kernels(context, segment, task), log.stages)


def _kernels(context: Context, segment: Segment, task: SegmentTask) -> list[tuple[Step, Kernel]]:
    """The steps of a segment with their kernels, for one shard."""
    if task.isolate:
        return [(step, _never) for step in segment.stages]
    key = (context.store.root, segment.cache_key)
    if key not in _opened:
        _opened.clear()
        _opened[key] = open_kernels(segment)
    store, shard = context.store, task.shard.name
    kernels = [(step, with_response_log(kernel, segment, store, shard)) for step, kernel in _opened[key]]
    return [(segment.global_stage, open_decision(segment, store, shard)), *kernels] if segment.global_stage else kernels


def _never(batch: Batch) -> Batch:
    raise AssertionError("an isolated shard runs its stages in a child process")


Function = Callable[[Any, Any], Any]


def after_deaths(item: Any, deaths: int) -> Any:
    """The item to try again after its worker died `deaths` times; None to give up."""
    if isinstance(item, SegmentTask) and deaths == 2:
        return replace(item, isolate=True)
    return item if deaths < 4 else None
