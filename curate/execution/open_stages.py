"""Open the stages of a segment: load models, read the decisions of global stages, return batch functions."""

from __future__ import annotations

import logging
import time

import pyarrow.parquet as pq

from curate.api.batch import Kernel
from curate.api.global_stage import Aggregate, Decision, GlobalStage
from curate.api.stage import LoggedKernel
from curate.errors import CurateError, SpecError
from curate.pipeline.steps import Segment, Step
from curate.storage.response_log import ResponseLog
from curate.storage.run_dir import decision_file, response_log, shard_decision_file
from curate.storage.store import Store

logger = logging.getLogger(__name__)


def open_kernels(segment: Segment) -> list[tuple[Step, Kernel]]:
    """Open the fused steps of a segment. The kernel that applies a decision is opened per shard, by `open_decision`."""
    return [(step, _opened(step)) for step in segment.steps]


def open_decision(segment: Segment, store: Store, shard: str) -> Kernel:
    """The kernel that applies the decision of the global stage before a segment to one shard."""
    assert segment.global_stage is not None
    stage = segment.global_stage.stage
    assert isinstance(stage, GlobalStage)
    name = decision_file(segment.name) if isinstance(stage, Aggregate) else shard_decision_file(segment.name, shard)
    decision = Decision(pq.read_table(store.open(name)))
    return lambda batch: stage.apply_decision(batch, decision)


def _opened(step: Step) -> Kernel:
    started = time.perf_counter()
    try:
        kernel = step.stage.open()
        logger.debug("stage %r opened in %.2f s", step.name, time.perf_counter() - started)
        return kernel
    except CurateError:
        raise
    except Exception as error:  # whatever a model's library raises for a file it cannot load
        raise SpecError(f"{step.location}: stage {step.name!r} cannot be opened: {type(error).__name__}: {error}") from error


def open_kernel(segment: Segment, store: Store, shard: str, step: Step) -> Kernel:
    """Open one step, for one shard."""
    if step is segment.global_stage:
        return open_decision(segment, store, shard)
    return with_response_log(_opened(step), segment, store, shard)


def with_response_log(kernel: Kernel, segment: Segment, store: Store, shard: str) -> Kernel:
    """Give a kernel that asks a model the response log of the shard; other kernels are returned unchanged."""
    if isinstance(kernel, LoggedKernel):
        return kernel.logging_to(ResponseLog(store, response_log(segment.name, shard)))
    return kernel
