"""Polls: summaries of every sketch, then a decision or the next question, until there is a decision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow.parquet as pq

from curate.api.global_stage import Aggregate, Decision, NextRound
from curate.execution.global_stages.partition import Context, RunAll, barrier_of, write_table
from curate.pipeline.steps import Segment
from curate.sources.source import Shard
from curate.storage.run_dir import decision_file, global_stage_folder, shard_file
from curate.storage.store import Store


@dataclass(frozen=True)
class MapTask:
    """The sketch of one shard to summarise, in one round."""

    segment: int
    shard: Shard
    round: int


@dataclass(frozen=True)
class ReduceTask:
    """All summaries of a round, in shard order."""

    segment: int
    shards: tuple[Shard, ...]
    round: int


def question_file(segment: Segment, number: int) -> str:
    return f"{global_stage_folder(segment.name)}/question-{number}.parquet"


def summary_file(segment: Segment, item: MapTask) -> str:
    return f"{global_stage_folder(segment.name)}/round-{item.round}/{item.shard.name}.parquet"


def _question(store: Store, segment: Segment, number: int) -> NextRound | None:
    return NextRound(pq.read_table(store.open(question_file(segment, number)))) if number else None


def run_match(context: Context, item: MapTask) -> None:
    """Summarise one sketch for the barrier before segment `item.segment`."""
    plan, store = context.plan, context.store
    segment = plan.segments[item.segment]
    rows = pq.read_table(store.open(shard_file(plan.segments[item.segment - 1].name, "sketch", item.shard.name)))
    poll = barrier_of(segment, Aggregate)
    write_table(store, summary_file(segment, item), poll.map_shard(rows, _question(store, segment, item.round)))


def run_decide(context: Context, item: ReduceTask) -> None:
    """Write the decision or the next round's question."""
    store, segment = context.store, context.plan.segments[item.segment]
    names = (summary_file(segment, MapTask(item.segment, shard, item.round)) for shard in item.shards)
    summaries = (pq.read_table(store.open(name)) for name in names)
    answer = barrier_of(segment, Aggregate).reduce(summaries, _question(store, segment, item.round))
    if isinstance(answer, Decision):
        write_table(store, decision_file(segment.name), answer.rows)
    else:
        write_table(store, question_file(segment, item.round + 1), answer.rows)


def poll(store: Store, segment: Segment, shards: Sequence[Shard], run_all: RunAll) -> None:
    """Ask until the decision is written."""
    number = 0
    while not store.exists(decision_file(segment.name)):
        items = [MapTask(segment.index, shard, number) for shard in shards]
        label = f"{segment.name}: match, round {number + 1}"
        run_all(label, run_match, items, lambda item: store.exists(summary_file(segment, item)))
        number += 1
        decide = [ReduceTask(segment.index, tuple(shards), number - 1)]
        run_all(
            f"{segment.name}: decide", run_decide, decide, lambda item: store.exists(question_file(segment, item.round + 1))
        )  # fmt: skip
