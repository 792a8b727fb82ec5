"""How summaries are divided among the tasks of a global stage, and what the tasks of all global stages share.

The driver makes a partition once and saves it, so that a continued run divides the work in the same way.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.api.dedup_index import Index
from curate.api.global_stage import Aggregate, SequentialScan, Shuffle
from curate.api.source import Shard
from curate.pipeline.plan import Plan
from curate.pipeline.steps import Segment
from curate.schema import INDEXED, ORDINAL, POSITION_BITS
from curate.storage.parquet import read_batches, schema
from curate.storage.run_dir import SUMMARY, partition_file, shard_file, shard_manifest
from curate.storage.store import Store

SHARD_GROUP_BYTES = 128 * 2**20
"""Approximate bytes of summaries per shard group, in runs with few of them."""
BLOCK_BYTES = 256 * 2**10
"""Smallest size of a block in a spill file, in runs with many tasks."""

G = TypeVar("G", Aggregate, Shuffle, SequentialScan)
RunAll = Callable[[str, Callable[[Any, Any], Any], Sequence[Any], Callable[[Any], bool]], None]
"""Arguments: label, function, tasks, whether a task is done. Runs the tasks that are not done; raises their first error."""


@dataclass(frozen=True)
class Context:
    """What all tasks of a run share; sent to a worker once."""

    plan: Plan
    store: Store


@dataclass(frozen=True)
class SummaryFile:
    """One file of summaries: of a shard of this run, or of an index of an earlier run."""

    group: int
    """The shard group it is in."""
    store: str
    """The folder of the index; empty for this run."""
    name: str
    shard: str
    first: int
    """The smallest ordinal in it. A file without rows has that of the next file with rows."""
    rows: int
    bytes: int
    weight: int


def write_table(store: Store, name: str, table: pa.Table) -> None:
    with store.create(name) as path:
        pq.write_table(table, path, compression="zstd")


def global_stage_of(segment: Segment, cls: type[G]) -> G:
    """The global stage before a segment, which is known to be of class `cls`."""
    assert segment.global_stage is not None
    stage = segment.global_stage.stage
    assert isinstance(stage, cls)
    return stage


def write_partition(store: Store, segment: Segment, before: Segment, shards: Sequence[Shard], indexes: Sequence[str]) -> None:
    """Divide the summaries of all shards and indexes into groups of neighbours. Does nothing where that has been done.

    `before` is the segment that wrote the summaries; `indexes` are folders of indexes.
    """
    if store.exists(partition_file(segment.name)):
        return
    files = [*_summaries_of_shards(store, before, shards), *_summaries_of_indexes(indexes)]
    total = sum(file["bytes"] for file in files)
    group_bytes = max(SHARD_GROUP_BYTES, math.isqrt(BLOCK_BYTES * total))
    group, held, following = 0, 0, None
    for file in files:
        if held and held + file["bytes"] > group_bytes:
            group, held = group + 1, 0
        file["bundle"], held = group, held + file["bytes"]
    for file in reversed(files):
        following = file["first"] if file["first"] is not None else following
        file["first"] = INDEXED if following is None else following
    columns = {
        "bundle": pa.int64(), "store": pa.string(), "name": pa.string(), "shard": pa.string(), "first": pa.uint64(),
        "rows": pa.int64(), "bytes": pa.int64(), "weight": pa.int64(),
    }  # fmt: skip
    num_ranges = max(1, -(-total // group_bytes))
    table = pa.Table.from_pylist(files, schema(columns)).replace_schema_metadata({"groups": str(num_ranges)})
    write_table(store, partition_file(segment.name), table)


def _summaries_of_shards(store: Store, before: Segment, shards: Sequence[Shard]) -> Iterator[dict[str, Any]]:
    for shard in shards:
        manifest = store.read_json(shard_manifest(before.name, shard.name))
        record, summary = manifest["files"][SUMMARY], manifest[SUMMARY]
        yield {
            "store": "", "name": shard_file(before.name, SUMMARY, shard.name), "shard": shard.name,
            "first": summary["first"], "rows": record["rows"], "bytes": record["bytes"], "weight": summary["weight"],
        }  # fmt: skip


def _summaries_of_indexes(indexes: Sequence[str]) -> Iterator[dict[str, Any]]:
    for number, path in enumerate(indexes):
        first = INDEXED + (number << POSITION_BITS)
        for part in Index.load(path).parts:
            location = {"store": path, "name": part.name, "shard": "", "first": first}
            yield {**location, "rows": part.rows, "bytes": part.bytes, "weight": 0}
            first += part.rows


@dataclass(frozen=True)
class Partition:
    """How the summaries are divided into shard groups, and the keys into ranges."""

    files: tuple[SummaryFile, ...]
    num_ranges: int

    @classmethod
    def load(cls, store: Store, segment: Segment) -> Partition:
        table = pq.read_table(store.open(partition_file(segment.name)))
        files = tuple(SummaryFile(group=row.pop("bundle"), **row) for row in table.to_pylist())
        return cls(files, int(table.schema.metadata[b"groups"]))

    @property
    def num_groups(self) -> int:
        return self.files[-1].group + 1 if self.files else 0

    def group(self, number: int) -> list[SummaryFile]:
        return [file for file in self.files if file.group == number]

    def groups_of(self, ordinals: Any) -> Any:
        """The shard group of every ordinal. Shape (ordinals,)."""
        firsts: dict[int, int] = {}
        for file in self.files:
            if file.rows:
                firsts.setdefault(file.group, file.first)
        numbers = np.array(list(firsts), np.int64)
        return numbers[np.searchsorted(np.array(list(firsts.values()), np.uint64), ordinals, side="right") - 1]


def read_summaries(context: Context, files: Sequence[SummaryFile], columns: Iterable[str]) -> Iterator[pa.RecordBatch]:
    """The rows of summary files, in order. Documents of an index get the ordinals they have in this run."""
    for file in files:
        at = file.first
        store = Store(file.store) if file.store else context.store
        for records in read_batches(store, file.name, list(columns), 16_384):
            if file.store:
                ordinals = pa.array(np.arange(at, at + records.num_rows, dtype=np.uint64))
                records = records.set_column(records.schema.get_field_index(ORDINAL), ORDINAL, ordinals)
                at += records.num_rows
            yield records


def total_of_markers(store: Store, markers: Sequence[str]) -> tuple[int, Counter[str]]:
    """Rows and counts of several tasks, summed over their markers."""
    rows, counts = 0, Counter[str]()
    for name in markers:
        marker = store.read_json(name)
        rows += marker["rows"]
        counts.update(marker["counts"])
    return rows, counts
