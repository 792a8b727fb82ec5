"""Run the global stage before a segment: which tasks there are, and the order in which the driver has them run.

Every task leaves files in the global stage's folder, whole or absent, and a task whose last file is there is done. A run that
was interrupted therefore continues in the middle of a phase. The result does not depend on how tasks are scheduled.

Tasks of a shuffle work on shard groups and on key ranges. There are as many of both as make each task's share of the
summaries SHARD_GROUP_BYTES. Rows go from all tasks of one phase to all tasks of the next through spill files (`spill.py`):
one file per task, with one block for every task of the next phase. The size of a block falls with the square of the number of
tasks. Above 64 GiB of summaries the share grows, so that blocks stay above BLOCK_BYTES; the memory of a task, about five times
its share, grows with it.

Estimate for `minhash` over 10^10 documents: 2.9 TB of summaries, shares of 0.87 GB, 3,300 tasks a phase of 4 to 5 GB each;
3.4 TB of band keys in 11 million blocks of 300 kB. Later phases are a tenth of that where one document in ten has a
near-duplicate. The driver holds names and sizes of the shards, 200,000 of 50,000 documents, and of the tasks of one phase.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from curate.api.global_stage import Aggregate, Shuffle
from curate.api.source import Shard
from curate.execution.global_stages.aggregate import run_aggregate
from curate.execution.global_stages.partition import RunAll, write_partition
from curate.execution.global_stages.scan import run_scan
from curate.execution.global_stages.shuffle import run_shuffle
from curate.pipeline.plan import Plan
from curate.pipeline.steps import Segment
from curate.storage.run_dir import decision_counts
from curate.storage.store import Store


def run_global_stage(plan: Plan, segment: Segment, store: Store, shards: Sequence[Shard], run_all: RunAll) -> None:
    """Make the decision of the global stage before a segment. Does nothing where it has been made."""
    assert segment.global_stage is not None
    stage = segment.global_stage.stage
    if isinstance(stage, Aggregate):
        run_aggregate(store, segment, shards, run_all)
        return
    if store.exists(decision_counts(segment.name)):
        return
    indexes = stage.indexes if isinstance(stage, Shuffle) else ()
    write_partition(store, segment, plan.segments[segment.index - 1], shards, indexes)
    run = run_shuffle if isinstance(stage, Shuffle) else run_scan
    store.write_json(decision_counts(segment.name), dict(sorted(run(store, segment, run_all).items())))


def counts_of_decision(store: Store, segment: Segment) -> dict[str, int]:
    """What the global stage before a segment counted on its way to a decision. Empty for an aggregate."""
    if segment.global_stage is None or isinstance(segment.global_stage.stage, Aggregate):
        return {}
    return dict(json.loads(store.read_text(decision_counts(segment.name))))
