"""Shuffles: phases of tasks, whose rows go through spill files from all tasks of one to all tasks of the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from curate.api.global_stage import KEY, Phase, PhaseResult, Shuffle, key_ranges
from curate.errors import AccountingError
from curate.execution.global_stages.partition import (
    Context,
    Partition,
    RunAll,
    barrier_of,
    counted_in,
    sketches_of,
    write_table,
)
from curate.execution.global_stages.spill import read_group, write_spill
from curate.pipeline.steps import Segment
from curate.schema import INDEXED, ORDINAL
from curate.storage.parquet import schema
from curate.storage.run_dir import global_stage_folder, shard_decision_file
from curate.storage.store import Store


@dataclass(frozen=True)
class PhaseTask:
    """One group, or one bundle, of a phase."""

    segment: int
    number: int
    """Of the phase, from 0."""
    phase: Phase
    before: Phase | None
    parts_before: int
    part: int

    @property
    def name(self) -> str:
        return f"{self.phase.name} {self.part}"

    def __hash__(self) -> int:  # columns of a phase are a dict
        return hash((self.segment, self.number, self.part))


def _spill(segment: Segment, number: int, phase: Phase, part: int) -> str:
    return f"{global_stage_folder(segment.name)}/phase-{number}-{phase.name}/{part:05d}.rows"


def _marker(segment: Segment, number: int, phase: Phase, part: int) -> str:
    return f"{global_stage_folder(segment.name)}/phase-{number}-{phase.name}/{part:05d}.json"


def _entering(context: Context, layout: Partition, item: PhaseTask) -> pa.Table:
    """The rows of a task's group or bundle, from all tasks of the phase before."""
    if item.before is None:
        return pa.table({})
    segment = context.plan.segments[item.segment]
    names = [_spill(segment, item.number - 1, item.before, part) for part in range(item.parts_before)]
    group = None if item.phase.whole else item.part
    count = layout.groups if KEY in item.before.writes else layout.bundles
    return read_group(context.store, names, group, count, schema(item.before.writes))


def run_task(context: Context, item: PhaseTask) -> None:
    """One group or bundle of a phase: its rows, spilled for the next phase, then its counts."""
    segment = context.plan.segments[item.segment]
    barrier = barrier_of(segment, Shuffle)
    layout = Partition.load(context.store, segment)
    files = layout.bundle(item.part) if item.phase.over == "shard" else []
    rows = _entering(context, layout, item)
    if item.phase.over == "shard" and item.before:
        rows = rows.sort_by(ORDINAL)
    done = barrier.run_phase(item.phase, rows, sketches_of(context, files, item.phase.summary_columns))
    _write_worked(context, layout, item, done)


def _write_worked(context: Context, layout: Partition, item: PhaseTask, done: PhaseResult) -> None:
    segment, rows = context.plan.segments[item.segment], done.rows.select(list(item.phase.writes))
    if KEY in item.phase.writes:
        groups, count = key_ranges(rows, layout.groups), layout.groups
    else:
        groups, count = layout.bundles_of(rows[ORDINAL].to_numpy()), layout.bundles
    write_spill(context.store, _spill(segment, item.number, item.phase, item.part), rows, groups, count)
    marker = {"rows": rows.num_rows, "counts": dict(done.counts)}
    context.store.write_json(_marker(segment, item.number, item.phase, item.part), marker)


@dataclass(frozen=True)
class DecisionTask:
    """The decision on the shards of one bundle to write down."""

    segment: int
    number: int
    phase: Phase
    """The last one."""
    parts: int
    bundle: int

    @property
    def name(self) -> str:
        return f"bundle {self.bundle}"

    def __hash__(self) -> int:
        return hash((self.segment, self.bundle))


def _settled(segment: Segment, bundle: int) -> str:
    return f"{global_stage_folder(segment.name)}/settled-{bundle:05d}.json"


def run_settle(context: Context, item: DecisionTask) -> None:
    """One decision file per shard of a bundle."""
    store, segment = context.store, context.plan.segments[item.segment]
    barrier, layout = barrier_of(segment, Shuffle), Partition.load(store, segment)
    names = [_spill(segment, item.number, item.phase, part) for part in range(item.parts)]
    rows = read_group(store, names, item.bundle, layout.bundles, schema(barrier.decision_columns))
    rows = rows.sort_by([(name, "ascending") for name in barrier.decision_columns]).combine_chunks()
    ordinals = rows[ORDINAL].to_numpy()
    files = [file for file in layout.bundle(item.bundle) if not file.store]
    edges = np.searchsorted(ordinals, np.array([*(file.first for file in files), INDEXED], np.uint64)).tolist()
    if edges[0]:
        raise AccountingError(f"{segment.name}: decisions on documents of no shard. This is a bug: please report it.")
    for file, start, stop in zip(files, edges[:-1], edges[1:], strict=True):
        write_table(store, shard_decision_file(segment.name, file.shard), rows.slice(start, stop - start))
    store.write_json(_settled(segment, item.bundle), rows.num_rows)


def shuffle(store: Store, segment: Segment, run_all: RunAll) -> Mapping[str, Any]:
    """Run phase after phase, then write the decisions; what was counted on the way."""
    barrier, layout = barrier_of(segment, Shuffle), Partition.load(store, segment)
    phase: Phase | None = barrier.first_phase
    before: Phase | None = None
    number = parts_before = 0
    total: Counter[str] = Counter()
    while phase is not None:
        parts = layout.bundles if phase.over == "shard" else 1 if phase.whole else layout.groups
        items = [PhaseTask(segment.index, number, phase, before, parts_before, part) for part in range(parts)]
        label = f"{segment.name}: {phase.name}"
        run_all(label, run_task, items, lambda item: store.exists(_marker(segment, item.number, item.phase, item.part)))
        rows, counts = counted_in(store, [_marker(segment, number, phase, part) for part in range(parts)])
        total.update({name: count for name, count in counts.items() if not name.startswith("_")})
        if before:
            _forget(store, segment, number - 1, before, parts_before)
        before, parts_before = phase, parts
        phase, number = barrier.next_phase(phase, rows, counts), number + 1
    assert before is not None
    settle = [DecisionTask(segment.index, number - 1, before, parts_before, bundle) for bundle in range(layout.bundles)]
    label = f"{segment.name}: decisions"
    run_all(label, run_settle, settle, lambda item: store.exists(_settled(segment, item.bundle)))
    _forget(store, segment, number - 1, before, parts_before)
    return total


def _forget(store: Store, segment: Segment, number: int, phase: Phase, parts: int) -> None:
    """Delete the rows of a phase that the next has taken in; markers stay."""
    for part in range(parts):
        store.delete(_spill(segment, number, phase, part))
