"""Run a stage in a child process, and when a batch kills it, find the document that does and drop it.

Used for a shard that has taken its worker down twice: the batch is bisected until one document is left.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from curate.api.batch import Batch, Kernel, drop_where
from curate.execution.accounting import KILLED
from curate.execution.open_stages import open_kernel
from curate.pipeline.steps import Segment, Step
from curate.process import Child, ChildDied, Function
from curate.schema import DROP, DROP_TYPE, EDITS, EDITS_TYPE, ID
from curate.storage.store import Store

logger = logging.getLogger(__name__)


def _serve(segment: Segment, store: Store, shard: str, name: str) -> Function:
    """In the child: the kernel of one step over batches as Arrow IPC streams."""
    (step,) = (step for step in segment.stages if step.name == name)
    kernel = open_kernel(segment, store, shard, step)
    return lambda payload: _pack(kernel(Batch(_unpack(payload))).records)


@contextlib.contextmanager
def isolated(segment: Segment, store: Store, shard: str, step: Step) -> Iterator[Kernel]:
    """The step's kernel, safe against documents that kill the process it runs in."""
    child = Child(_serve, segment, store, shard, step.name)
    try:
        yield lambda batch: _with_untouched(step, batch, _join(list(_survive(child, step, batch.records))))
    finally:
        child.close()


def _with_untouched(step: Step, before: Batch, records: pa.RecordBatch) -> Batch:
    """The result with the original arrays of columns that the stage does not write: copies of NaN compare as changed."""
    after = Batch(records)
    for name in before.names:
        if name in after and name not in step.stage.writes:
            after = after.put(name, before[name])
    return after


def _survive(child: Child, step: Step, records: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Results for all rows, in order; a row that kills the child on its own is dropped."""
    try:
        yield _unpack(child.call(_pack(records)))
    except ChildDied as death:
        if records.num_rows == 1:
            document = records.column(ID)[0].as_py()
            logger.warning("stage %r: document %r kills its process: %s", step.name, document, death)
            yield _quarantined(step, records, str(death))
            return
        half = records.num_rows // 2
        yield from _survive(child, step, records.slice(0, half))
        yield from _survive(child, step, records.slice(half))


def _quarantined(step: Step, records: pa.RecordBatch, detail: str) -> pa.RecordBatch:
    batch = Batch(records)
    for name, kind in step.stage.writes.items():
        if name not in batch:
            batch = batch.put(name, pa.nulls(1, kind))
    return drop_where(batch, np.ones(1, np.bool_), KILLED, detail=detail).records


def _join(parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    """One batch of all parts. It has drop reasons and edits if any part has them."""
    for name, kind in ((DROP, DROP_TYPE), (EDITS, EDITS_TYPE)):
        if any(name in part.schema.names for part in parts):
            parts = [p if name in p.schema.names else Batch(p).put(name, pa.nulls(p.num_rows, kind)).records for p in parts]
    names = parts[0].schema.names
    return pa.Table.from_batches([part.select(names) for part in parts]).combine_chunks().to_batches()[0]


def _pack(records: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, records.schema) as writer:
        writer.write_batch(records)
    return bytes(sink.getvalue())


def _unpack(payload: bytes) -> pa.RecordBatch:
    with pa.ipc.open_stream(payload) as reader:
        return reader.read_next_batch()
