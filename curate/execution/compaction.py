"""Compaction: the rows of all shards, in canonical order, are written to the final files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.api.batch import Batch
from curate.api.source import Shard
from curate.execution.accounting import EDITED_SCHEMA, dropped_schema, with_values
from curate.execution.assemble import read_documents
from curate.execution.global_stages.partition import Context
from curate.execution.sampling import SAMPLE_KEY
from curate.pipeline.plan import Plan
from curate.pipeline.steps import TEXT_CHARS
from curate.schema import ORDINAL, mix
from curate.storage.parquet import FileRecord, TableWriter, read_batches, schema
from curate.storage.run_dir import marker_file, shard_file, values_file


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


@dataclass(frozen=True)
class CompactionContext:
    """What all tasks of the compaction share; sent to a worker once."""

    context: Context
    thresholds: Mapping[str, int]
    """"kind/stage/reason" -> the largest keyed hash of a document whose text is kept."""


def run_compaction(compaction: CompactionContext, file: FinalFile) -> FileRecord:
    """Write one final file, the file of `values/` that belongs to it, and their markers; its own marker last."""
    store, schemas = compaction.context.store, _final_schemas(compaction.context.plan, file)
    with ExitStack() as stack:
        writers = {name: stack.enter_context(TableWriter(store, name, schemas[name], canonical=True)) for name in schemas}
        for records in _pieces(compaction, file):
            for name, writer in writers.items():
                writer.write(records.select(schemas[name].names).cast(schemas[name], safe=name == file.name))
    for name in reversed(schemas):
        store.write_json(marker_file(name), asdict(writers[name].record))
    return writers[file.name].record


def _final_schemas(plan: Plan, file: FinalFile) -> dict[str, pa.Schema]:
    """Name -> columns of the final file. A file of the corpus may have a second one in `values/`."""
    if file.kind == "data":
        values = {values_file(file.name): schema(plan.values_columns)} if plan.values_columns else {}
        return {file.name: schema(plan.output), **values}
    final = dropped_schema(plan.recorded) if file.kind == "dropped" else EDITED_SCHEMA
    hidden = () if file.kind == "dropped" and plan.recorded else (ORDINAL,)
    return {file.name: pa.schema([field for field in final if field.name not in hidden])}


def _pieces(compaction: CompactionContext, file: FinalFile) -> Iterator[pa.RecordBatch]:
    plan, store = compaction.context.plan, compaction.context.store
    segments = plan.segments[: file.segment + 1]
    for piece in file.pieces:
        if file.kind == "data":
            columns = {ORDINAL: pa.uint64(), **plan.output, **plan.values_columns}
            counted = columns.pop(TEXT_CHARS, None) if TEXT_CHARS in plan.values_columns else None
            for records in read_documents(plan, segments, piece.shard, store, columns, piece.skip, piece.count):
                yield Batch(records).put(TEXT_CHARS, pa.array(Batch(records).chars)).records if counted else records
        else:
            name = shard_file(segments[-1].name, file.kind, piece.shard.name)
            for records in _sliced(read_batches(store, name), piece.skip, piece.count):
                sampled = _sampled(compaction, file.kind, records)
                yield with_values(sampled, plan.recorded) if file.kind == "dropped" and plan.recorded else sampled


def _sliced(batches: Iterator[pa.RecordBatch], skip: int, count: int) -> Iterator[pa.RecordBatch]:
    for records in batches:
        size = records.num_rows
        records = records.slice(min(skip, size), count)
        skip, count = max(0, skip - size), count - records.num_rows
        if records.num_rows:
            yield records
        if not count:
            return


def _sampled(compaction: CompactionContext, kind: str, records: pa.RecordBatch) -> pa.RecordBatch:
    """The records without texts that are in the sample of their shard but not in the sample of the run."""
    if compaction.context.plan.pipeline.output.keep_text:
        return records
    keys = records.column("stage").to_pylist()
    if kind == "dropped":
        keys = [f"{stage}/{reason}" for stage, reason in zip(keys, records.column("reason").to_pylist(), strict=True)]
    limits = [compaction.thresholds.get(f"{kind}/{key}", -1) for key in keys]
    hashes = mix(records.column(ORDINAL).to_numpy(), SAMPLE_KEY).tolist()
    inside = pa.array(np.array([value <= limit for value, limit in zip(hashes, limits, strict=True)], np.bool_))
    for name in ("text",) if kind == "dropped" else ("before", "after"):
        column = records.column(name)
        index = records.schema.get_field_index(name)
        records = records.set_column(index, name, pc.if_else(inside, column, pa.scalar(None, column.type)))
    return records
