"""Run one segment over one shard: read, mark, stages, write, and the ledger that means "done". Works without Ray.

This is the code a worker runs. It holds one batch at a time. The ledger file is written last and carries the size and
hash of the others, so a shard whose ledger is there is done, and one whose ledger is not has left nothing that counts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curate.api.batch import Batch, Kernel
from curate.api.global_stage import Fold
from curate.api.stage import Barrier, Stage
from curate.errors import BooksError, ContractError, CurateError
from curate.execution.accounting import EDITED_SCHEMA, SOURCE, Account, Ledger, dropped_schema
from curate.execution.assemble import read_layers
from curate.execution.quarantine import isolated
from curate.execution.sampling import BottomK
from curate.pipeline.plan import Plan
from curate.pipeline.steps import Segment, Step
from curate.schema import (
    EDITED,
    ID,
    ORDINAL,
    TEXT,
)
from curate.sources.source import Reading, Shard
from curate.storage.parquet import FileRecord, TableWriter, schema
from curate.storage.run_dir import shard_file, shard_manifest
from curate.storage.store import Store


@dataclass(frozen=True)
class Work:
    """One shard through one segment."""

    segment: int
    shard: Shard
    limit: int | None = None
    """Read this many documents of the shard at most."""
    isolate: bool = False
    """Run every batch in a child process: this shard has taken workers down."""


@dataclass(frozen=True)
class Done:
    """What comes back to the driver: counts, a few hundred bytes."""

    work: Work
    rows_out: int
    accounts: Mapping[str, Account]
    records: Mapping[str, int]
    seconds: float


def run_segment(plan: Plan, work: Work, store: Store, kernels: list[tuple[Step, Kernel]]) -> Done:
    """Run a shard through a segment and commit it. Raises DataError, ContractError, BooksError, TransientError."""
    started = time.perf_counter()
    segment, shard = plan.segments[work.segment], work.shard
    with ExitStack() as stack:
        if work.isolate:
            kernels = [(step, stack.enter_context(isolated(segment, store, shard.name, step))) for step, _ in kernels]
        output = _Output(stack, plan, segment, shard, store)
        reading = Reading()
        for batch in _batches(plan, work, store, reading, output.ledger):
            for step, kernel in kernels:
                if not len(batch):
                    break
                batch = _apply(step, kernel, batch, output.ledger)
            output.write(batch)
    _check_books(segment, shard, output)
    seconds = time.perf_counter() - started
    _commit(store, segment, work, output, reading, seconds)
    return Done(work, output.files["data"].rows, output.ledger.accounts, reading.records, seconds)


def _check_books(segment: Segment, shard: Shard, output: _Output) -> None:
    """Every account balances, each stage got what the one before let through, and the last wrote what it has left."""
    where = f"{segment.name}, shard {shard.name!r}"
    rows: int | None = None
    for name in [SOURCE] * (segment.index == 0) + [step.name for step in segment.stages]:
        account = output.ledger.open_account(name)
        account.check(f"{where}, stage {name!r}")
        if rows is not None and account.rows_in != rows:
            raise BooksError(f"{where}: {rows} documents on their way to {name!r}, {account.rows_in} arrived.")
        rows = account.rows_out
    if rows is not None and output.files["data"].rows != rows:
        raise BooksError(f"{where}: {rows} documents left, {output.files['data'].rows} written.")


def _batches(plan: Plan, work: Work, store: Store, reading: Reading, ledger: Ledger) -> Iterator[Batch]:
    segment, shard = plan.segments[work.segment], work.shard
    if segment.index:
        for records in read_layers(plan, plan.segments[: segment.index], shard, store, segment.reads):
            batch = Batch(records)
            yield batch.put(EDITED, pa.repeat(pa.scalar(False), len(batch))) if EDITED in segment.writes else batch
        return
    left = work.limit
    for records in plan.source.read(shard, reading):
        records = records if left is None else records.slice(0, left)
        batch = ledger.settle_source(Batch(records), plan.source.reasons, list(segment.reads))
        yield batch.put(EDITED, pa.repeat(pa.scalar(False), len(batch))) if EDITED in segment.writes else batch
        if left is not None:
            left -= records.num_rows
            if not left:
                return


def _apply(step: Step, kernel: Kernel, batch: Batch, ledger: Ledger) -> Batch:
    started = time.perf_counter()
    try:
        after = kernel(batch)
    except CurateError:
        raise
    except Exception as error:
        raise _located(step, kernel, batch, ledger.shard, error) from error
    return ledger.settle(step, batch, after, started)


def _located(step: Step, kernel: Kernel, batch: Batch, shard: str, error: Exception) -> ContractError:
    """Find the document on which a stage raises, by running the rows one by one."""
    document = "not one document alone"
    for row in range(len(batch)):
        try:
            kernel(Batch(batch.records.slice(row, 1)))
        except Exception:
            document = f"document {batch[ID][row].as_py()!r}"
            break
    return ContractError(
        f"{step.place}: stage {step.name!r}, shard {shard!r}, {document}: {type(error).__name__}: {error}. "
        "A stage gives bad documents a verdict and does not raise."
    )


class _Output:
    """The files of one shard in one segment. `data` is always there; `dropped` and `edited` when they have rows."""

    def __init__(self, stack: ExitStack, plan: Plan, segment: Segment, shard: Shard, store: Store) -> None:
        self._stack, self._segment, self._shard, self._store = stack, segment, shard, store
        self._writers: dict[str, TableWriter] = {}
        values = plan.values_in(segment)
        self._schemas = {"data": schema(segment.writes), "dropped": dropped_schema(values), "edited": EDITED_SCHEMA}
        if segment.sketch:
            assert isinstance(segment.sketch.stage, Barrier)
            self._schemas["sketch"] = schema(segment.sketch.stage.sketches)
        output = plan.pipeline.output
        size = output.sample_per_reason
        self._dropped: list[pa.RecordBatch] = []
        self._edited: list[pa.RecordBatch] = []
        self.ledger = Ledger(
            shard.name, output.keep_text, BottomK(size), BottomK(size), self._dropped.append, self._edited.append, values,
            {step.name: plan.values_by(step.name) for step in segment.stages},
        )  # fmt: skip
        self._writer("data")
        self.sketch: dict[str, Any] | None = {"first": None, "weight": 0} if segment.sketch else None
        """The smallest ordinal in the sketch, and what its rows weigh."""
        if segment.sketch:
            self._writer("sketch")
            assert isinstance(segment.sketch.stage, Barrier)
            self._sketcher = segment.sketch.stage.sketcher()

    @property
    def files(self) -> dict[str, FileRecord]:
        return {kind: writer.record for kind, writer in self._writers.items()}

    def _writer(self, kind: str) -> TableWriter:
        if kind not in self._writers:
            name = shard_file(self._segment.name, kind, self._shard.name)
            self._writers[kind] = self._stack.enter_context(TableWriter(self._store, name, self._schemas[kind]))
        return self._writers[kind]

    def write(self, batch: Batch) -> None:
        """Everything one batch leaves behind; verdicts in the order of documents, whichever stage gave them."""
        for kind, records in (("dropped", self._dropped), ("edited", self._edited)):
            if records:
                table = pa.Table.from_batches(records).sort_by(ORDINAL)
                for part in table.combine_chunks().to_batches():
                    self._writer(kind).write(part)
                records.clear()
        if not len(batch):
            return
        if self._segment.sketch:
            self._write_sketch(self._sketcher(batch), self._segment.sketch.stage)
        self._writer("data").write(_written(batch, self._segment))

    def _write_sketch(self, rows: pa.RecordBatch, barrier: Stage) -> None:
        assert self.sketch is not None
        if rows.num_rows and self.sketch["first"] is None:
            self.sketch["first"] = rows.column(ORDINAL)[0].as_py()
        if isinstance(barrier, Fold):
            self.sketch["weight"] += barrier.weigh(rows)
        self._writer("sketch").write(rows)


def _written(batch: Batch, segment: Segment) -> pa.RecordBatch:
    """The columns of the segment's file; of texts only the new ones, where the older ones are in an earlier file."""
    records = batch.records.select(list(segment.writes))
    if EDITED in segment.writes:
        sparse = pc.if_else(batch[EDITED], batch[TEXT], pa.scalar(None, batch[TEXT].type))
        records = records.set_column(records.schema.get_field_index(TEXT), TEXT, sparse)
    return records.cast(schema(segment.writes))


def _commit(store: Store, segment: Segment, work: Work, output: _Output, reading: Reading, seconds: float) -> None:
    shard, limit = work.shard, work.limit
    ledger = output.ledger
    store.write_json(
        shard_manifest(segment.name, shard.name),
        {
            "shard": asdict(shard),
            "limit": limit,
            "fingerprint": segment.fingerprint,
            "files": {kind: asdict(record) for kind, record in output.files.items()},
            "sketch": output.sketch,
            "records": dict(sorted(reading.records.items())),
            "first": reading.first,
            "next": reading.next,
            "stages": {name: account.as_json() for name, account in ledger.accounts.items()},
            "samples": {"dropped": ledger.drop_samples.as_json(), "edited": ledger.edit_samples.as_json()},
            "seconds": round(seconds, 3),
        },
    )


def load_done(store: Store, segment: Segment, work: Work) -> Done | None:
    """The result of a shard that is done; None when it is not."""
    name = shard_manifest(segment.name, work.shard.name)
    if not store.exists(name):
        return None
    value = store.read_json(name)
    return done_of(value, work) if value["limit"] == work.limit else None


def done_of(ledger: Mapping[str, Any], work: Work) -> Done:
    """The result that a ledger file tells of."""
    accounts = {stage: Account.from_json(account) for stage, account in ledger["stages"].items()}
    return Done(work, ledger["files"]["data"]["rows"], accounts, ledger["records"], ledger["seconds"])
