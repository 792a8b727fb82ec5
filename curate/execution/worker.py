"""What a worker process does: one item of work at a time, with models loaded once and kept. Knows nothing of Ray."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.api.stage import Batch, Kernel
from curate.execution.accounting import EDITED_SCHEMA, SAMPLE_SEED, dropped_schema, with_values
from curate.execution.assemble import read_layers
from curate.execution.global_stages.partition import Context
from curate.execution.open_stages import open_kernels, open_marking, with_log
from curate.execution.segment import Done, Work, run_segment
from curate.pipeline.plan import TEXT_CHARS, Plan, Step
from curate.schema import ORDINAL, keyed_hash
from curate.sources.source import Shard
from curate.storage.parquet import FileRecord, TableWriter, read_batches, schema

_opened: dict[tuple[str, str], list[tuple[Step, Kernel]]] = {}


def run_work(context: Context, work: Work) -> Done:
    """One shard through one segment. The segment's kernels stay open for the next shard."""
    segment = context.plan.segments[work.segment]
    key = (context.store.root, context.plan.prints[segment.name])
    if work.isolate:
        kernels: list[tuple[Step, Kernel]] = [(step, _never) for step in segment.stages]
    else:
        if key not in _opened:
            _opened.clear()
            _opened[key] = open_kernels(segment)
        store, shard = context.store, work.shard.name
        kernels = [(step, with_log(kernel, segment, store, shard)) for step, kernel in _opened[key]]
        if segment.barrier:
            kernels = [(segment.barrier, open_marking(segment, store, shard)), *kernels]
    return run_segment(context.plan, work, context.store, kernels)


def _never(batch: Batch) -> Batch:
    raise AssertionError("an isolated shard runs its stages in a child process")


@dataclass(frozen=True)
class Piece:
    """Rows skip .. skip + count of a shard's file."""

    shard: Shard
    skip: int
    count: int


@dataclass(frozen=True)
class FinalFile:
    """One file of `data/`, `dropped/` or `edited/`, and the pieces it is made of, in order."""

    kind: str
    segment: int
    name: str
    pieces: tuple[Piece, ...]


def marker_file(name: str) -> str:
    """What a final file is committed with."""
    return f"steps/output/{name}.json"


def values_file(data: str) -> str:
    """The file of `values/` that belongs, row by row, to a file of `data/`."""
    return data.replace("data/", "values/", 1)


@dataclass(frozen=True)
class Finish:
    """What writing the final files needs besides the plan."""

    context: Context
    thresholds: Mapping[str, int]
    """Per "kind/stage/reason": texts of documents with a hash up to this one are kept."""


def run_finish(finish: Finish, item: FinalFile) -> FileRecord:
    """Write one final file, what belongs beside it, and their markers; its own marker last."""
    store, schemas = finish.context.store, _final_schemas(finish.context.plan, item)
    with ExitStack() as stack:
        writers = {name: stack.enter_context(TableWriter(store, name, schemas[name], canonical=True)) for name in schemas}
        for records in _pieces(finish, item):
            for name, writer in writers.items():
                writer.write(records.select(schemas[name].names).cast(schemas[name], safe=name == item.name))
    for name in reversed(schemas):
        store.write_json(marker_file(name), asdict(writers[name].record))
    return writers[item.name].record


def _final_schemas(plan: Plan, item: FinalFile) -> dict[str, pa.Schema]:
    """Name -> columns of the file, and for the corpus, where values are recorded, of the one in `values/`."""
    if item.kind == "data":
        beside = {values_file(item.name): schema(plan.beside)} if plan.beside else {}
        return {item.name: schema(plan.output), **beside}
    final = dropped_schema(plan.values) if item.kind == "dropped" else EDITED_SCHEMA
    hidden = () if item.kind == "dropped" and plan.values else (ORDINAL,)
    return {item.name: pa.schema([field for field in final if field.name not in hidden])}


def _pieces(finish: Finish, item: FinalFile) -> Iterator[pa.RecordBatch]:
    plan, store = finish.context.plan, finish.context.store
    segments = plan.segments[: item.segment + 1]
    for piece in item.pieces:
        if item.kind == "data":
            columns = {ORDINAL: pa.uint64(), **plan.output, **plan.beside}
            counted = columns.pop(TEXT_CHARS, None) if TEXT_CHARS in plan.beside else None
            for records in read_layers(plan, segments, piece.shard, store, columns, piece.skip, piece.count):
                yield Batch(records).put(TEXT_CHARS, pa.array(Batch(records).chars)).records if counted else records
        else:
            name = f"steps/{segments[-1].name}/{item.kind}/{piece.shard.name}.parquet"
            for records in _sliced(read_batches(store, name), piece.skip, piece.count):
                sampled = _sampled(finish, item.kind, records)
                yield with_values(sampled, plan.values) if item.kind == "dropped" and plan.values else sampled


def _sliced(batches: Iterator[pa.RecordBatch], skip: int, count: int) -> Iterator[pa.RecordBatch]:
    for records in batches:
        size = records.num_rows
        records = records.slice(min(skip, size), count)
        skip, count = max(0, skip - size), count - records.num_rows
        if records.num_rows:
            yield records
        if not count:
            return


def _sampled(finish: Finish, kind: str, records: pa.RecordBatch) -> pa.RecordBatch:
    """Without the texts that were kept in their shard but are not in the sample of the run."""
    if finish.context.plan.pipeline.output.keep_text:
        return records
    keys = records.column("stage").to_pylist()
    if kind == "dropped":
        keys = [f"{stage}/{reason}" for stage, reason in zip(keys, records.column("reason").to_pylist(), strict=True)]
    limits = [finish.thresholds.get(f"{kind}/{key}", -1) for key in keys]
    hashes = keyed_hash(records.column(ORDINAL).to_numpy(), SAMPLE_SEED).tolist()
    inside = pa.array(np.array([value <= limit for value, limit in zip(hashes, limits, strict=True)], np.bool_))
    for name in ("text",) if kind == "dropped" else ("before", "after"):
        column = records.column(name)
        index = records.schema.get_field_index(name)
        records = records.set_column(index, name, pc.if_else(inside, column, pa.scalar(None, column.type)))
    return records


Function = Callable[[Any, Any], Any]


def after_deaths(item: Any, deaths: int) -> Any:
    """The item to try again after its worker died `deaths` times; None to give up."""
    if isinstance(item, Work) and deaths == 2:
        return replace(item, isolate=True)
    return item if deaths < 4 else None
