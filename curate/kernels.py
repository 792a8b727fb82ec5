"""Open the stages of a segment: models loaded, barrier decisions read, batch functions ready."""

from __future__ import annotations

import pyarrow.parquet as pq

from curate.errors import CurateError, SpecError
from curate.plan import Segment, Step
from curate.stage import Barrier, Decision, Kernel
from curate.store import Store


def decision_file(segment: Segment) -> str:
    """Where the decision of the barrier before a segment lies."""
    return f"steps/{segment.name}/decision.parquet"


def open_kernels(segment: Segment, store: Store) -> list[tuple[Step, Kernel]]:
    """Every step of a segment with its kernel, the barrier's marking first."""
    return [(step, open_kernel(segment, store, step)) for step in segment.stages]


def _opened(step: Step) -> Kernel:
    try:
        return step.stage.open()
    except CurateError:
        raise
    except Exception as error:  # whatever a model's library raises for a file it cannot load
        raise SpecError(f"{step.place}: stage {step.name!r} cannot be opened: {type(error).__name__}: {error}") from error


def open_kernel(segment: Segment, store: Store, step: Step) -> Kernel:
    """Load what one step needs, once per worker."""
    barrier = step.stage
    if not isinstance(barrier, Barrier):
        return _opened(step)
    decision = Decision(pq.read_table(store.open(decision_file(segment))))
    return lambda batch: barrier.mark(batch, decision)
