"""Folds: chains of legs, each of which takes in some sketches and saves the state for the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from curate.api.global_stage import SequentialScan
from curate.execution.global_stages.partition import (
    BUNDLE_BYTES,
    Context,
    Partition,
    RunAll,
    SketchFile,
    barrier_of,
    counted_in,
    sketches_of,
    write_table,
)
from curate.pipeline.steps import Segment
from curate.schema import POSITION_BITS
from curate.storage.parquet import schema
from curate.storage.run_dir import global_stage_folder, shard_decision_file
from curate.storage.store import Store

CHECKPOINT = 4
"""A state is saved after so many times its size in sketches."""


@dataclass(frozen=True)
class ScanChunk:
    """Neighbouring sketches of one chain, between two savings of its state."""

    segment: int
    chain: int
    number: int
    weight: int
    """Of the whole chain."""
    files: tuple[SketchFile, ...]

    @property
    def name(self) -> str:
        return f"chain {self.chain}, leg {self.number}"


def _state_file(segment: Segment, chain: int, number: int) -> str:
    return f"{global_stage_folder(segment.name)}/state-{chain}-{number}.bin"


def _leg_marker(segment: Segment, chain: int, number: int) -> str:
    return f"{global_stage_folder(segment.name)}/leg-{chain}-{number}.json"


def run_leg(context: Context, item: ScanChunk) -> None:
    """Decisions on the shards of a leg, then the state after it, then the marker."""
    store, segment = context.store, context.plan.segments[item.segment]
    barrier, counts = barrier_of(segment, SequentialScan), Counter[str]()
    if item.number:
        with store.reading(_state_file(segment, item.chain, item.number - 1)) as file:
            state = barrier.load_state(file)
    else:
        state = barrier.initial_state(item.weight)
    for sketch in item.files:
        done = [barrier.scan(state, records) for records in sketches_of(context, [sketch], barrier.summary_columns)]
        for worked in done:
            counts.update(worked.counts)
        rows = pa.concat_tables([schema(barrier.decision_columns).empty_table(), *(worked.rows for worked in done)])
        write_table(store, shard_decision_file(segment.name, sketch.shard), rows)
    with store.create(_state_file(segment, item.chain, item.number)) as path, open(path, "wb") as target:
        barrier.save_state(state, target)
    store.write_json(_leg_marker(segment, item.chain, item.number), {"rows": 0, "counts": dict(counts)})
    if item.number:
        store.delete(_state_file(segment, item.chain, item.number - 1))


def fold(store: Store, segment: Segment, run_all: RunAll) -> Mapping[str, Any]:
    """Run all legs, those of different chains side by side; what they counted."""
    barrier, layout = barrier_of(segment, SequentialScan), Partition.load(store, segment)
    chains = [list(_legs(segment, barrier, layout, chain)) for chain in range(barrier.num_partitions)]
    total: Counter[str] = Counter()
    for number in range(max(map(len, chains), default=0)):
        items = [legs[number] for legs in chains if number < len(legs)]
        label = f"{segment.name}: leg {number + 1}"
        run_all(label, run_leg, items, lambda leg: store.exists(_leg_marker(segment, leg.chain, leg.number)))
        total.update(counted_in(store, [_leg_marker(segment, leg.chain, number) for leg in items])[1])
    for legs in filter(None, chains):
        store.delete(_state_file(segment, legs[-1].chain, legs[-1].number))
    return total


def _legs(segment: Segment, barrier: SequentialScan, layout: Partition, chain: int) -> Iterator[ScanChunk]:
    files = [file for file in layout.files if (file.first >> POSITION_BITS) % barrier.num_partitions == chain or not file.rows]
    files = [file for file in files if file.rows or chain == 0]
    weight = sum(file.weight for file in files)
    most = max(BUNDLE_BYTES, CHECKPOINT * barrier.state_bytes(weight))
    legs: list[list[SketchFile]] = [[]]
    held = 0
    for file in files:
        if held and held + file.bytes > most:
            legs.append([])
            held = 0
        legs[-1].append(file)
        held += file.bytes
    for number, leg in enumerate(legs):
        if leg:
            yield ScanChunk(segment.index, chain, number, weight, tuple(leg))
