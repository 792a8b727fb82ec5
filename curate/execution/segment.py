"""Run one segment over one shard: read, apply the decision, run the stages, write, and commit with the shard manifest.

This is the code a worker runs. It holds one batch at a time. The shard manifest is written last, with the size and
hash of the other files: a shard that has one is done, and files of a shard without one are written again. Ray is not needed.
"""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curate.api.batch import Batch, Kernel
from curate.api.global_stage import GlobalStage, SequentialScan
from curate.api.source import ReadReport, Shard
from curate.api.stage import Stage
from curate.errors import AccountingError, ContractError, CurateError
from curate.execution.accounting import EDITED_SCHEMA, SOURCE, ShardAccounting, StageCounts, dropped_schema
from curate.execution.assemble import read_documents
from curate.execution.quarantine import isolated
from curate.execution.sampling import BottomK
from curate.logs import describe_error
from curate.pipeline.plan import Plan
from curate.pipeline.steps import Segment, Step
from curate.schema import (
    EDITED,
    ID,
    ORDINAL,
    TEXT,
)
from curate.storage.parquet import FileRecord, TableWriter, schema
from curate.storage.run_dir import SUMMARY, shard_file, shard_manifest
from curate.storage.store import Store


@dataclass(frozen=True)
class SegmentTask:
    """One shard through one segment."""

    segment: int
    shard: Shard
    limit: int | None = None
    """Read this many documents of the shard at most."""
    isolate: bool = False
    """Run every batch in a child process: this shard has taken workers down."""


@dataclass(frozen=True)
class SegmentResult:
    """What comes back to the driver: counts, a few hundred bytes."""

    task: SegmentTask
    rows_out: int
    stages: Mapping[str, StageCounts]
    records: Mapping[str, int]
    seconds: float


def run_segment(
    plan: Plan, task: SegmentTask, store: Store, kernels: list[tuple[Step, Kernel]], stages: dict[str, StageCounts]
) -> SegmentResult:
    """Run a shard through a segment and commit it. `stages` gets the counts of every stage as they grow.

    Raises DataError, ContractError, AccountingError, TransientError.
    """
    started = time.perf_counter()
    segment, shard = plan.segments[task.segment], task.shard
    with ExitStack() as stack:
        if task.isolate:
            kernels = [(step, stack.enter_context(isolated(segment, store, shard.name, step))) for step, _ in kernels]
        output = _Output(stack, plan, segment, shard, store, stages)
        report = ReadReport()
        for batch in _batches(plan, task, store, report, output.accounting):
            for step, kernel in kernels:
                if not len(batch):
                    break
                batch = _apply(step, kernel, batch, output.accounting)
            output.write(batch)
    _check_counts(segment, shard, output)
    seconds = time.perf_counter() - started
    _commit(store, segment, task, output, report, seconds)
    return SegmentResult(task, output.files["data"].rows, output.accounting.stages, report.records, seconds)


def _check_counts(segment: Segment, shard: Shard, output: _Output) -> None:
    """Raises AccountingError unless every stage balances, gets what the stage before let through, and all of it is written."""
    where = f"{segment.name}, shard {shard.name!r}"
    rows: int | None = None
    for name in [SOURCE] * (segment.index == 0) + [step.name for step in segment.stages]:
        counts = output.accounting.counts_of(name)
        counts.check(f"{where}, stage {name!r}")
        if rows is not None and counts.rows_in != rows:
            raise AccountingError(f"{where}: {rows} documents on their way to {name!r}, {counts.rows_in} arrived.")
        rows = counts.rows_out
    if rows is not None and output.files["data"].rows != rows:
        raise AccountingError(f"{where}: {rows} documents left, {output.files['data'].rows} written.")


def _batches(plan: Plan, task: SegmentTask, store: Store, report: ReadReport, accounting: ShardAccounting) -> Iterator[Batch]:
    segment, shard = plan.segments[task.segment], task.shard
    if segment.index:
        for records in read_documents(plan, plan.segments[: segment.index], shard, store, segment.reads):
            batch = Batch(records)
            yield batch.put(EDITED, pa.repeat(pa.scalar(False), len(batch))) if EDITED in segment.writes else batch
        return
    left = task.limit
    for records in plan.source.read(shard, report):
        records = records if left is None else records.slice(0, left)
        batch = accounting.account_for_source(Batch(records), plan.source.reasons, list(segment.reads))
        yield batch.put(EDITED, pa.repeat(pa.scalar(False), len(batch))) if EDITED in segment.writes else batch
        if left is not None:
            left -= records.num_rows
            if not left:
                return


def _apply(step: Step, kernel: Kernel, batch: Batch, accounting: ShardAccounting) -> Batch:
    started = time.perf_counter()
    try:
        after = kernel(batch)
    except CurateError:
        raise
    except Exception as error:
        raise _error_at_document(step, kernel, batch, accounting.shard, error) from error
    return accounting.account_for(step, batch, after, started)


def _error_at_document(step: Step, kernel: Kernel, batch: Batch, shard: str, error: Exception) -> ContractError:
    """Find the document on which a stage raises, by running the rows one by one."""
    document = "not one document alone"
    for row in range(len(batch)):
        try:
            kernel(Batch(batch.records.slice(row, 1)))
        except Exception:
            document = f"document {batch[ID][row].as_py()!r}"
            break
    raised = traceback.extract_tb(error.__traceback__)[-1]
    line = f"{os.path.basename(raised.filename)}:{raised.lineno}"
    return ContractError(
        f"{step.location}: stage {step.name!r}, shard {shard!r}, {document}: {describe_error(error)} (at {line}). "
        "A stage drops bad documents and does not raise."
    )


class _Output:
    """The files of one shard in one segment. `data` is always there; `dropped` and `edited` when they have rows."""

    def __init__(
        self, stack: ExitStack, plan: Plan, segment: Segment, shard: Shard, store: Store, stages: dict[str, StageCounts]
    ) -> None:
        self._stack, self._segment, self._shard, self._store = stack, segment, shard, store
        self._writers: dict[str, TableWriter] = {}
        values = segment.recorded
        self._schemas = {"data": schema(segment.writes), "dropped": dropped_schema(values), "edited": EDITED_SCHEMA}
        if segment.summarizes:
            assert isinstance(segment.summarizes.stage, GlobalStage)
            self._schemas[SUMMARY] = schema(segment.summarizes.stage.summary_columns)
        output = plan.pipeline.output
        size = output.sample_per_reason
        self._dropped: list[pa.RecordBatch] = []
        self._edited: list[pa.RecordBatch] = []
        self.accounting = ShardAccounting(
            shard.name, output.keep_text, BottomK(size), BottomK(size), self._dropped.append, self._edited.append, values,
            {step.name: step.recorded for step in segment.stages}, stages,
        )  # fmt: skip
        self._writer("data")
        self.summary: dict[str, Any] | None = {"first": None, "weight": 0} if segment.summarizes else None
        """The smallest ordinal in the summary, and the weight of its rows."""
        if segment.summarizes:
            self._writer(SUMMARY)
            assert isinstance(segment.summarizes.stage, GlobalStage)
            self._summarizer = segment.summarizes.stage.open_summarizer()

    @property
    def files(self) -> dict[str, FileRecord]:
        return {kind: writer.record for kind, writer in self._writers.items()}

    def _writer(self, kind: str) -> TableWriter:
        if kind not in self._writers:
            name = shard_file(self._segment.name, kind, self._shard.name)
            self._writers[kind] = self._stack.enter_context(TableWriter(self._store, name, self._schemas[kind]))
        return self._writers[kind]

    def write(self, batch: Batch) -> None:
        """Write the surviving rows of a batch, and its dropped and edited rows in the order of documents, over all stages."""
        for kind, records in (("dropped", self._dropped), ("edited", self._edited)):
            if records:
                table = pa.Table.from_batches(records).sort_by(ORDINAL)
                for part in table.combine_chunks().to_batches():
                    self._writer(kind).write(part)
                records.clear()
        if not len(batch):
            return
        if self._segment.summarizes:
            self._write_summary(self._summarizer(batch), self._segment.summarizes.stage)
        self._writer("data").write(_written(batch, self._segment))

    def _write_summary(self, rows: pa.RecordBatch, stage: Stage) -> None:
        assert self.summary is not None
        if rows.num_rows and self.summary["first"] is None:
            self.summary["first"] = rows.column(ORDINAL)[0].as_py()
        if isinstance(stage, SequentialScan):
            self.summary["weight"] += stage.weight_of(rows)
        self._writer(SUMMARY).write(rows)


def _written(batch: Batch, segment: Segment) -> pa.RecordBatch:
    """The columns of the segment's file; of texts only the new ones, where the older ones are in an earlier file."""
    records = batch.records.select(list(segment.writes))
    if EDITED in segment.writes:
        sparse = pc.if_else(batch[EDITED], batch[TEXT], pa.scalar(None, batch[TEXT].type))
        records = records.set_column(records.schema.get_field_index(TEXT), TEXT, sparse)
    return records.cast(schema(segment.writes))


def _commit(store: Store, segment: Segment, task: SegmentTask, output: _Output, report: ReadReport, seconds: float) -> None:
    shard, limit = task.shard, task.limit
    accounting = output.accounting
    store.write_json(
        shard_manifest(segment.name, shard.name),
        {
            "shard": asdict(shard),
            "limit": limit,
            "fingerprint": segment.key,
            "files": {kind: asdict(record) for kind, record in output.files.items()},
            SUMMARY: output.summary,
            "records": dict(sorted(report.records.items())),
            "first": report.first_position,
            "next": report.next_position,
            "stages": {name: counts.as_json() for name, counts in accounting.stages.items()},
            "samples": {"dropped": accounting.drop_samples.as_json(), "edited": accounting.edit_samples.as_json()},
            "seconds": round(seconds, 3),
        },
    )


def load_result(store: Store, segment: Segment, task: SegmentTask) -> SegmentResult | None:
    """The result of a shard that is done under the same limit; None when it is not."""
    name = shard_manifest(segment.name, task.shard.name)
    if not store.exists(name):
        return None
    manifest = store.read_json(name)
    return result_of(manifest, task) if manifest["limit"] == task.limit else None


def result_of(manifest: Mapping[str, Any], task: SegmentTask) -> SegmentResult:
    """The result that a shard manifest records."""
    stages = {name: StageCounts.from_json(counts) for name, counts in manifest["stages"].items()}
    return SegmentResult(task, manifest["files"]["data"]["rows"], stages, manifest["records"], manifest["seconds"])
