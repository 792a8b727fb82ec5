"""Aggregates: each round maps the summary of every shard and reduces the results, until there is a decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.parquet as pq

from curate.api.global_stage import Aggregate, Decision, NextRound
from curate.api.source import Shard
from curate.execution.global_stages.partition import Context, RunAll, global_stage_of, write_table
from curate.pipeline.steps import Segment
from curate.storage.run_dir import SUMMARY, decision_file, mapped_shard_file, round_file, shard_file
from curate.storage.store import Store


@dataclass(frozen=True)
class MapTask:
    """Map the summary of one shard, in one round."""

    segment: int
    shard: Shard
    round: int


@dataclass(frozen=True)
class ReduceTask:
    """Reduce the mapped summaries of a round, in shard order."""

    segment: int
    shards: tuple[Shard, ...]
    round: int

    @property
    def name(self) -> str:
        return "reduce"


def _this_round(store: Store, segment: Segment, number: int) -> NextRound | None:
    return NextRound(pq.read_table(store.open(round_file(segment.name, number)))) if number else None


def run_map(context: Context, task: MapTask) -> None:
    """Map one summary for the global stage before segment `task.segment`, and write the result."""
    plan, store = context.plan, context.store
    segment = plan.segments[task.segment]
    summary = pq.read_table(store.open(shard_file(plan.segments[task.segment - 1].name, SUMMARY, task.shard.name)))
    mapped = global_stage_of(segment, Aggregate).map_shard(summary, _this_round(store, segment, task.round))
    write_table(store, mapped_shard_file(segment.name, task.round, task.shard.name), mapped)


def run_reduce(context: Context, task: ReduceTask) -> None:
    """Write the decision, or what the next round needs to know."""
    store, segment = context.store, context.plan.segments[task.segment]
    names = (mapped_shard_file(segment.name, task.round, shard.name) for shard in task.shards)
    tables = (pq.read_table(store.open(name)) for name in names)
    outcome = global_stage_of(segment, Aggregate).reduce(tables, _this_round(store, segment, task.round))
    if isinstance(outcome, Decision):
        write_table(store, decision_file(segment.name), outcome.rows)
    else:
        write_table(store, round_file(segment.name, task.round + 1), outcome.rows)


def run_aggregate(store: Store, segment: Segment, shards: Sequence[Shard], run_all: RunAll) -> None:
    """Run rounds until the decision is written. Rounds that were finished earlier are skipped."""
    number = 0
    while not store.exists(decision_file(segment.name)):
        maps = [MapTask(segment.index, shard, number) for shard in shards]
        run_all(
            f"{segment.name}: map, round {number + 1}", run_map, maps,
            lambda task: store.exists(mapped_shard_file(segment.name, task.round, task.shard.name)),
        )  # fmt: skip
        run_all(
            f"{segment.name}: reduce", run_reduce, [ReduceTask(segment.index, tuple(shards), number)],
            lambda task: store.exists(round_file(segment.name, task.round + 1)),
        )  # fmt: skip
        number += 1
