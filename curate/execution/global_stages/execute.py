"""How the three kinds of barriers come to a decision: the tasks, and the order in which the driver has them run.

Everything a task leaves is a file of `steps/NAME/barrier/`, whole or absent, and a task whose last file is there is done; so
a run that was cut off goes on in the middle of a phase. What comes out is the same however tasks are dealt out.

A shuffle runs on bundles of shards and on groups of keys, as many of both as make a task's share of the sketches BUNDLE_BYTES.
Rows go from all tasks of one phase to all tasks of the next through spill files (`spill.py`), one per task, with one block for
every task of the next. Blocks shrink with the square of the number of tasks: so that they stay above BLOCK_BYTES, a share is
larger where there are more than 64 GiB of sketches, and with it the memory of a task, some five times its share.

On paper, `minhash` over 10^10 documents: 2.9 TB of sketches, shares of 0.87 GB, 3,300 tasks a phase of 4 to 5 GB each; 3.4 TB
of band keys in 11 million blocks of 300 kB. What follows is a tenth of that where one document in ten has a near-duplicate.
The driver holds names and sizes of the shards, 200,000 of 50,000 documents, and of the tasks of one phase.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from curate.api.global_stage import Aggregate, Shuffle
from curate.execution.global_stages.aggregate import poll
from curate.execution.global_stages.partition import RunAll, write_partition
from curate.execution.global_stages.scan import fold
from curate.execution.global_stages.shuffle import shuffle
from curate.pipeline.plan import Plan
from curate.pipeline.steps import Segment
from curate.sources.source import Shard
from curate.storage.run_dir import decision_counts
from curate.storage.store import Store


def decide(plan: Plan, segment: Segment, store: Store, shards: Sequence[Shard], run_all: RunAll) -> None:
    """Come to the decision of the barrier before a segment, or find it made."""
    assert segment.global_stage is not None
    barrier = segment.global_stage.stage
    if isinstance(barrier, Aggregate):
        poll(store, segment, shards, run_all)
        return
    if store.exists(decision_counts(segment.name)):
        return
    indexes = barrier.indexes if isinstance(barrier, Shuffle) else ()
    write_partition(store, segment, plan.segments[segment.index - 1], shards, indexes)
    made = shuffle(store, segment, run_all) if isinstance(barrier, Shuffle) else fold(store, segment, run_all)
    store.write_json(decision_counts(segment.name), dict(sorted(made.items())))


def counted(store: Store, segment: Segment) -> dict[str, int]:
    """What the barrier before a segment counted, empty for a poll."""
    if segment.global_stage is None or isinstance(segment.global_stage.stage, Aggregate):
        return {}
    return dict(json.loads(store.read_text(decision_counts(segment.name))))
