"""Sketches of shards and indexes, dealt into bundles for tasks; and what the tasks of all barriers share.

A layout is made once, by the driver, and saved: a continued run deals in the same way.
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
from curate.pipeline.plan import Plan
from curate.pipeline.steps import Segment
from curate.schema import INDEXED, ORDINAL, POSITION_BITS
from curate.sources.source import Shard
from curate.storage.parquet import read_batches, schema
from curate.storage.run_dir import global_stage_folder, shard_file, shard_manifest
from curate.storage.store import Store

BUNDLE_BYTES = 128 * 2**20
"""Bytes of sketch files that a task has at hand, more or less, where there are few."""
BLOCK_BYTES = 256 * 2**10
"""What a block has at least, where there are many."""

B = TypeVar("B", Aggregate, Shuffle, SequentialScan)
RunAll = Callable[[str, Callable[[Any, Any], Any], Sequence[Any], Callable[[Any], bool]], None]
"""Label, function, items, whether an item is done: runs those that are not, and raises what one of them raised."""


@dataclass(frozen=True)
class Context:
    """What all items of a run share; sent to a worker once."""

    plan: Plan
    store: Store


@dataclass(frozen=True)
class SketchFile:
    """One sketch: of a shard of this run, or of an index of an earlier one."""

    bundle: int
    store: str
    """The folder of the index; empty for this run."""
    name: str
    shard: str
    first: int
    """The smallest ordinal in it; where it has no rows, that of the next one that does."""
    rows: int
    bytes: int
    weight: int


def write_table(store: Store, name: str, table: pa.Table) -> None:
    with store.create(name) as path:
        pq.write_table(table, path, compression="zstd")


def barrier_of(segment: Segment, kind: type[B]) -> B:
    assert segment.global_stage is not None
    barrier = segment.global_stage.stage
    assert isinstance(barrier, kind)
    return barrier


def _layout_file(segment: Segment) -> str:
    return f"{global_stage_folder(segment.name)}/layout.parquet"


def write_partition(store: Store, segment: Segment, before: Segment, shards: Sequence[Shard], indexes: Sequence[str]) -> None:
    """Deal the sketches of all shards and indexes into bundles of neighbours, once: a continued run has the same ones."""
    if store.exists(_layout_file(segment)):
        return
    files: list[dict[str, Any]] = []
    for shard in shards:
        ledger = store.read_json(shard_manifest(before.name, shard.name))
        record, sketch = ledger["files"]["sketch"], ledger["sketch"]
        place = {
            "store": "",
            "name": shard_file(before.name, "sketch", shard.name),
            "shard": shard.name,
            "first": sketch["first"],
        }
        files.append({**place, "rows": record["rows"], "bytes": record["bytes"], "weight": sketch["weight"]})
    for number, path in enumerate(indexes):
        first = INDEXED + (number << POSITION_BITS)
        for part in Index.load(path).parts:
            place = {"store": path, "name": part.name, "shard": "", "first": first}
            files.append({**place, "rows": part.rows, "bytes": part.bytes, "weight": 0})
            first += part.rows
    total = sum(file["bytes"] for file in files)
    share = max(BUNDLE_BYTES, math.isqrt(BLOCK_BYTES * total))
    bundle, held, following = 0, 0, None
    for file in files:
        if held and held + file["bytes"] > share:
            bundle, held = bundle + 1, 0
        file["bundle"], held = bundle, held + file["bytes"]
    for file in reversed(files):
        following = file["first"] if file["first"] is not None else following
        file["first"] = INDEXED if following is None else following
    columns = {
        "bundle": pa.int64(), "store": pa.string(), "name": pa.string(), "shard": pa.string(), "first": pa.uint64(),
        "rows": pa.int64(), "bytes": pa.int64(), "weight": pa.int64(),
    }  # fmt: skip
    groups = max(1, -(-total // share))
    table = pa.Table.from_pylist(files, schema(columns)).replace_schema_metadata({"groups": str(groups)})
    write_table(store, _layout_file(segment), table)


@dataclass(frozen=True)
class Partition:
    """How the sketches are dealt into bundles, and keys into groups."""

    files: tuple[SketchFile, ...]
    groups: int

    @classmethod
    def load(cls, store: Store, segment: Segment) -> Partition:
        table = pq.read_table(store.open(_layout_file(segment)))
        files = tuple(SketchFile(**row) for row in table.to_pylist())
        return cls(files, int(table.schema.metadata[b"groups"]))

    @property
    def bundles(self) -> int:
        return self.files[-1].bundle + 1 if self.files else 0

    def bundle(self, number: int) -> list[SketchFile]:
        return [file for file in self.files if file.bundle == number]

    def bundles_of(self, ordinals: Any) -> Any:
        """The bundle of every ordinal."""
        firsts: dict[int, int] = {}
        for file in self.files:
            if file.rows:
                firsts.setdefault(file.bundle, file.first)
        numbers = np.array(list(firsts), np.int64)
        return numbers[np.searchsorted(np.array(list(firsts.values()), np.uint64), ordinals, side="right") - 1]


def sketches_of(context: Context, files: Sequence[SketchFile], columns: Iterable[str]) -> Iterator[pa.RecordBatch]:
    """The rows of sketches, in order; documents of an index under the ordinals they have here."""
    for file in files:
        at = file.first
        store = Store(file.store) if file.store else context.store
        for records in read_batches(store, file.name, list(columns), 16_384):
            if file.store:
                ordinals = pa.array(np.arange(at, at + records.num_rows, dtype=np.uint64))
                records = records.set_column(records.schema.get_field_index(ORDINAL), ORDINAL, ordinals)
                at += records.num_rows
            yield records


def counted_in(store: Store, markers: Sequence[str]) -> tuple[int, Counter[str]]:
    """Rows and counts of some tasks, by their markers."""
    rows, counts = 0, Counter[str]()
    for name in markers:
        marker = store.read_json(name)
        rows += marker["rows"]
        counts.update(marker["counts"])
    return rows, counts
