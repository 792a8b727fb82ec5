"""Shuffles: phases of tasks. Rows go through spill files from all tasks of one phase to all tasks of the next."""

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
    global_stage_of,
    read_summaries,
    total_of_markers,
    write_table,
)
from curate.execution.global_stages.spill import read_block, write_spill
from curate.pipeline.steps import Segment
from curate.schema import INDEXED, ORDINAL
from curate.storage.parquet import schema
from curate.storage.run_dir import phase_marker, phase_rows_file, shard_decision_file, shard_group_marker
from curate.storage.store import Store


@dataclass(frozen=True)
class PhaseTask:
    """One key range, or one shard group, of a phase."""

    segment: int
    number: int
    """Number of the phase, from 0."""
    phase: Phase
    before: Phase | None
    parts_before: int
    """Tasks of the phase before."""
    part: int
    """Number of the key range or shard group."""

    @property
    def name(self) -> str:
        return f"{self.phase.name} {self.part}"

    def __hash__(self) -> int:  # columns of a phase are a dict
        return hash((self.segment, self.number, self.part))


def _incoming_rows(context: Context, partition: Partition, task: PhaseTask) -> pa.Table:
    """The rows for a task's key range or shard group, from all tasks of the phase before."""
    if task.before is None:
        return pa.table({})
    segment = context.plan.segments[task.segment]
    names = [phase_rows_file(segment.name, task.number - 1, task.before.name, part) for part in range(task.parts_before)]
    block = None if task.phase.single_task else task.part
    num_blocks = partition.num_ranges if KEY in task.before.writes else partition.num_groups
    return read_block(context.store, names, block, num_blocks, schema(task.before.writes))


def run_phase_task(context: Context, task: PhaseTask) -> None:
    """Run a phase over one key range or shard group. Writes its rows for the next phase, then its counts."""
    segment = context.plan.segments[task.segment]
    stage = global_stage_of(segment, Shuffle)
    partition = Partition.load(context.store, segment)
    files = partition.group(task.part) if task.phase.over == "shard" else []
    rows = _incoming_rows(context, partition, task)
    if task.phase.over == "shard" and task.before:
        rows = rows.sort_by(ORDINAL)
    result = stage.run_phase(task.phase, rows, read_summaries(context, files, task.phase.summary_columns))
    _write_result(context, partition, task, result)


def _write_result(context: Context, partition: Partition, task: PhaseTask, result: PhaseResult) -> None:
    segment, rows = context.plan.segments[task.segment], result.rows.select(list(task.phase.writes))
    if KEY in task.phase.writes:
        blocks, num_blocks = key_ranges(rows, partition.num_ranges), partition.num_ranges
    else:
        blocks, num_blocks = partition.groups_of(rows[ORDINAL].to_numpy()), partition.num_groups
    spill_file = phase_rows_file(segment.name, task.number, task.phase.name, task.part)
    write_spill(context.store, spill_file, rows, blocks, num_blocks)
    marker = {"rows": rows.num_rows, "counts": dict(result.counts)}
    context.store.write_json(phase_marker(segment.name, task.number, task.phase.name, task.part), marker)


@dataclass(frozen=True)
class DecisionTask:
    """Write the decisions on the shards of one group."""

    segment: int
    number: int
    phase: Phase
    """The last phase."""
    parts: int
    """Tasks of the last phase."""
    group: int

    @property
    def name(self) -> str:
        return f"shard group {self.group}"

    def __hash__(self) -> int:
        return hash((self.segment, self.group))


def run_decision_task(context: Context, task: DecisionTask) -> None:
    """Write one decision file per shard of a group, then the marker."""
    store, segment = context.store, context.plan.segments[task.segment]
    stage, partition = global_stage_of(segment, Shuffle), Partition.load(store, segment)
    names = [phase_rows_file(segment.name, task.number, task.phase.name, part) for part in range(task.parts)]
    rows = read_block(store, names, task.group, partition.num_groups, schema(stage.decision_columns))
    rows = rows.sort_by([(name, "ascending") for name in stage.decision_columns]).combine_chunks()
    ordinals = rows[ORDINAL].to_numpy()
    files = [file for file in partition.group(task.group) if not file.store]
    edges = np.searchsorted(ordinals, np.array([*(file.first for file in files), INDEXED], np.uint64)).tolist()
    if edges[0]:
        raise AccountingError(f"{segment.name}: decisions on documents of no shard. This is a bug: please report it.")
    for file, start, stop in zip(files, edges[:-1], edges[1:], strict=True):
        write_table(store, shard_decision_file(segment.name, file.shard), rows.slice(start, stop - start))
    store.write_json(shard_group_marker(segment.name, task.group), rows.num_rows)


def run_shuffle(store: Store, segment: Segment, run_all: RunAll) -> Mapping[str, Any]:
    """Run phase after phase, then write the decisions. Returns what all phases counted."""
    stage, partition = global_stage_of(segment, Shuffle), Partition.load(store, segment)
    phase: Phase | None = stage.first_phase
    before: Phase | None = None
    number = parts_before = 0
    total: Counter[str] = Counter()
    while phase is not None:
        parts = partition.num_groups if phase.over == "shard" else 1 if phase.single_task else partition.num_ranges
        tasks = [PhaseTask(segment.index, number, phase, before, parts_before, part) for part in range(parts)]
        run_all(
            f"{segment.name}: {phase.name}", run_phase_task, tasks,
            lambda task: store.exists(phase_marker(segment.name, task.number, task.phase.name, task.part)),
        )  # fmt: skip
        markers = [phase_marker(segment.name, number, phase.name, part) for part in range(parts)]
        rows, counts = total_of_markers(store, markers)
        total.update({name: count for name, count in counts.items() if not name.startswith("_")})
        if before:
            _delete_rows(store, segment, number - 1, before, parts_before)
        before, parts_before = phase, parts
        phase, number = stage.next_phase(phase, rows, counts), number + 1
    assert before is not None
    decisions = [DecisionTask(segment.index, number - 1, before, parts_before, group) for group in range(partition.num_groups)]
    run_all(
        f"{segment.name}: decisions", run_decision_task, decisions,
        lambda task: store.exists(shard_group_marker(segment.name, task.group)),
    )  # fmt: skip
    _delete_rows(store, segment, number - 1, before, parts_before)
    return total


def _delete_rows(store: Store, segment: Segment, number: int, phase: Phase, parts: int) -> None:
    """Delete the rows of a phase, which the next phase has read. Its markers stay."""
    for part in range(parts):
        store.delete(phase_rows_file(segment.name, number, phase.name, part))
