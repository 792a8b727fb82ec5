"""Sequential scans: every partition is scanned chunk by chunk, and each chunk saves the state for the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from curate.api.global_stage import SequentialScan
from curate.execution.global_stages.partition import (
    SHARD_GROUP_BYTES,
    Context,
    Partition,
    RunAll,
    SummaryFile,
    global_stage_of,
    read_summaries,
    total_of_markers,
    write_table,
)
from curate.pipeline.steps import Segment
from curate.schema import POSITION_BITS
from curate.storage.parquet import schema
from curate.storage.run_dir import checkpoint_file, chunk_marker, shard_decision_file
from curate.storage.store import Store

CHECKPOINT = 4
"""A state is saved after this many times its size in bytes of summaries."""


@dataclass(frozen=True)
class ScanChunk:
    """Neighbouring summary files of one partition, between two checkpoints of its state."""

    segment: int
    partition: int
    number: int
    weight: int
    """Weight of the whole partition."""
    files: tuple[SummaryFile, ...]

    @property
    def name(self) -> str:
        return f"partition {self.partition}, chunk {self.number}"


def run_chunk(context: Context, chunk: ScanChunk) -> None:
    """Write the decisions on the shards of a chunk, then the state after it, then the marker."""
    store, segment = context.store, context.plan.segments[chunk.segment]
    stage, counts = global_stage_of(segment, SequentialScan), Counter[str]()
    if chunk.number:
        with store.reading(checkpoint_file(segment.name, chunk.partition, chunk.number - 1)) as file:
            state = stage.load_state(file)
    else:
        state = stage.initial_state(chunk.weight)
    for summary in chunk.files:
        results = [stage.scan(state, records) for records in read_summaries(context, [summary], stage.summary_columns)]
        for result in results:
            counts.update(result.counts)
        rows = pa.concat_tables([schema(stage.decision_columns).empty_table(), *(result.rows for result in results)])
        write_table(store, shard_decision_file(segment.name, summary.shard), rows)
    with store.create(checkpoint_file(segment.name, chunk.partition, chunk.number)) as path, open(path, "wb") as target:
        stage.save_state(state, target)
    marker = {"rows": 0, "counts": dict(counts)}
    store.write_json(chunk_marker(segment.name, chunk.partition, chunk.number), marker)
    if chunk.number:
        store.delete(checkpoint_file(segment.name, chunk.partition, chunk.number - 1))


def run_scan(store: Store, segment: Segment, run_all: RunAll) -> Mapping[str, Any]:
    """Run all chunks, those of different partitions side by side. Returns what they counted."""
    stage, partition = global_stage_of(segment, SequentialScan), Partition.load(store, segment)
    partitions = [list(_chunks(segment, stage, partition, number)) for number in range(stage.num_partitions)]
    total: Counter[str] = Counter()
    for number in range(max(map(len, partitions), default=0)):
        tasks = [chunks[number] for chunks in partitions if number < len(chunks)]
        run_all(
            f"{segment.name}: chunk {number + 1}", run_chunk, tasks,
            lambda chunk: store.exists(chunk_marker(segment.name, chunk.partition, chunk.number)),
        )  # fmt: skip
        total.update(total_of_markers(store, [chunk_marker(segment.name, task.partition, number) for task in tasks])[1])
    for chunks in filter(None, partitions):
        store.delete(checkpoint_file(segment.name, chunks[-1].partition, chunks[-1].number))
    return total


def _chunks(segment: Segment, stage: SequentialScan, partition: Partition, number: int) -> Iterator[ScanChunk]:
    """The chunks of partition `number`. Files without rows are in partition 0, so that each shard gets its decision file."""
    of_partition = [
        file
        for file in partition.files
        if (file.rows and (file.first >> POSITION_BITS) % stage.num_partitions == number) or (not file.rows and number == 0)
    ]
    weight = sum(file.weight for file in of_partition)
    chunk_bytes = max(SHARD_GROUP_BYTES, CHECKPOINT * stage.state_bytes(weight))
    chunks: list[list[SummaryFile]] = [[]]
    held = 0
    for file in of_partition:
        if held and held + file.bytes > chunk_bytes:
            chunks.append([])
            held = 0
        chunks[-1].append(file)
        held += file.bytes
    for index, files in enumerate(chunks):
        if files:
            yield ScanChunk(segment.index, number, index, weight, tuple(files))
