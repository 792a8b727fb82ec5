"""The last step: rows of all shards, in canonical order, into the final files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.api.batch import Batch
from curate.execution.accounting import EDITED_SCHEMA, dropped_schema, with_values
from curate.execution.assemble import read_layers
from curate.execution.global_stages.partition import Context
from curate.execution.sampling import SAMPLE_SEED
from curate.pipeline.plan import Plan
from curate.pipeline.steps import TEXT_CHARS
from curate.schema import ORDINAL, keyed_hash
from curate.sources.source import Shard
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
        beside = {values_file(item.name): schema(plan.values_columns)} if plan.values_columns else {}
        return {item.name: schema(plan.output), **beside}
    final = dropped_schema(plan.recorded) if item.kind == "dropped" else EDITED_SCHEMA
    hidden = () if item.kind == "dropped" and plan.recorded else (ORDINAL,)
    return {item.name: pa.schema([field for field in final if field.name not in hidden])}


def _pieces(finish: Finish, item: FinalFile) -> Iterator[pa.RecordBatch]:
    plan, store = finish.context.plan, finish.context.store
    segments = plan.segments[: item.segment + 1]
    for piece in item.pieces:
        if item.kind == "data":
            columns = {ORDINAL: pa.uint64(), **plan.output, **plan.values_columns}
            counted = columns.pop(TEXT_CHARS, None) if TEXT_CHARS in plan.values_columns else None
            for records in read_layers(plan, segments, piece.shard, store, columns, piece.skip, piece.count):
                yield Batch(records).put(TEXT_CHARS, pa.array(Batch(records).chars)).records if counted else records
        else:
            name = shard_file(segments[-1].name, item.kind, piece.shard.name)
            for records in _sliced(read_batches(store, name), piece.skip, piece.count):
                sampled = _sampled(finish, item.kind, records)
                yield with_values(sampled, plan.recorded) if item.kind == "dropped" and plan.recorded else sampled


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
