"""Global stages: stages that need every document of the corpus before they can decide about one.

A global stage works in three steps, all of them tasks; none shows all documents to one process.

1. `summarize` runs fused into the write before the cut. It leaves a few small rows for each document: the shard's summary.
2. The summaries of all shards are turned into a `Decision`, in one of three ways:
   - `Aggregate`: map every shard's summary to a small table, reduce all tables to a decision or to another round (`select`).
   - `Shuffle`: bring rows together by a key, work on each key range, as often as it takes (`exact_dedup`, `minhash`).
   - `SequentialScan`: fold the summaries into a state in input order (`bloom_dedup`).
3. `apply_decision` runs fused into the read after the cut. It drops or edits documents, as any stage does.

The decision of an aggregate is the same for all shards. The other two decide per shard, by the ordinals of its documents.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.api.batch import Batch
from curate.api.stage import Stage
from curate.schema import ORDINAL

KEY = "key"
"""A uint64 by which rows are brought together: any number that is spread evenly over all 64 bits."""

Columns = Mapping[str, pa.DataType]


@dataclass(frozen=True)
class Decision:
    """What a global stage decided: rows about one shard's documents, or the same few rows for all shards."""

    rows: pa.Table


class GlobalStage(Stage):
    """Base of the three kinds. Subclass `Aggregate`, `Shuffle` or `SequentialScan`."""

    @property
    def summary_options(self) -> tuple[str, ...]:
        """Options that change the summaries; the others can move without reading documents again."""
        raise NotImplementedError

    @property
    def summary_columns(self) -> Columns:
        """Columns of a summary, `ordinal` first."""
        raise NotImplementedError

    @property
    def footprint(self) -> str:
        """What it takes on disk and in memory, in words, for `curate plan`."""
        return "not known"

    def open_summarizer(self) -> Callable[[Batch], pa.RecordBatch]:
        """Load what `summarize` needs, once per shard, and return it."""
        return self.summarize

    def summarize(self, batch: Batch) -> pa.RecordBatch:
        """Rows kept for the decision: at most one per document, in the order of the batch."""
        raise NotImplementedError

    def apply_decision(self, batch: Batch, decision: Decision) -> Batch:
        """Drop or edit documents of a batch, as a stage does."""
        raise NotImplementedError


@dataclass(frozen=True)
class NextRound:
    """Asks for another round of `map_shard`; `rows` is what it needs to know."""

    rows: pa.Table


class Aggregate(GlobalStage):
    """Rounds of map and reduce over the summaries, until there is a decision."""

    def map_shard(self, summary: pa.Table, this_round: NextRound | None) -> pa.Table:
        """Map one shard's summary to a small table. `this_round` is None in the first round."""
        raise NotImplementedError

    def reduce(self, tables: Iterable[pa.Table], this_round: NextRound | None) -> NextRound | Decision:
        """Reduce the tables of all shards to a decision, or ask for another round.

        Tables arrive in shard order, one at a time, so that memory need not grow with the number of shards.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Phase:
    """One pass of a shuffle over all rows."""

    name: str
    over: Literal["key", "shard"]
    """One task per key range (equal keys are always together), or one per shard group, which has the summaries at hand."""
    summary_columns: tuple[str, ...] = field(default=(), kw_only=True)
    """Columns of the summaries that it reads, `ordinal` first."""
    writes: Columns
    """Columns of the rows it writes. The next phase gets them by `key` if they have one, else by the shard of `ordinal`."""
    single_task: bool = False
    """True when one task gets all rows."""


@dataclass(frozen=True)
class PhaseResult:
    """Rows of one task for the next phase, and counts that are added up over all tasks."""

    rows: pa.Table
    counts: Mapping[str, int] = field(default_factory=dict)


class Shuffle(GlobalStage):
    """Phases between which rows are brought together by key. The rows of the last phase are the decision.

    A result must depend neither on how keys are dealt to tasks nor on the order of rows.
    """

    index_options: ClassVar[tuple[str, ...]] = ()
    """Options that an index must have been made with, to be compared."""

    @property
    def indexes(self) -> tuple[str, ...]:
        """Folders that `curate index` wrote: their documents take part, with ordinals from `schema.INDEXED` on."""
        return ()

    @property
    def decision_columns(self) -> Columns:
        """Columns of the decision, `ordinal` first. Its rows are sorted by all of them."""
        raise NotImplementedError

    @property
    def first_phase(self) -> Phase:
        """The phase that makes rows of the summaries. It runs over shards and has no rows before it."""
        raise NotImplementedError

    def next_phase(self, phase: Phase, rows: int, counts: Mapping[str, int]) -> Phase | None:
        """The phase after one that wrote `rows` rows and `counts` in all; None if its rows are the decision."""
        raise NotImplementedError

    def run_phase(self, phase: Phase, rows: pa.Table, summaries: Iterator[pa.RecordBatch]) -> PhaseResult:
        """Work on the rows of one key range, or of one shard group with its summaries, in ascending ordinals."""
        raise NotImplementedError


class SequentialScan(GlobalStage):
    """A global stage with sequential state, such as a Bloom filter.

    Per-shard summaries are folded into the state in input order. Input files are dealt round-robin to `num_partitions`
    independent states that run in parallel; the result depends on that number, never on the number of workers. The state is
    checkpointed, so an interrupted run resumes from the last checkpoint.
    """

    @property
    def num_partitions(self) -> int:
        """Input file number n belongs to partition n modulo this."""
        return 1

    @property
    def decision_columns(self) -> Columns:
        """Columns of the decision, `ordinal` first."""
        raise NotImplementedError

    def weight_of(self, summary: pa.RecordBatch) -> int:
        """How much a summary adds to the state. `initial_state` gets the sum over its partition."""
        raise NotImplementedError

    def state_bytes(self, weight: int) -> int:
        """Size of a state of this weight. A checkpoint is written after about four times as many bytes of summaries."""
        raise NotImplementedError

    def initial_state(self, weight: int) -> Any:
        """The empty state of a partition."""
        raise NotImplementedError

    def load_state(self, file: BinaryIO) -> Any:
        """Read a checkpoint."""
        raise NotImplementedError

    def save_state(self, state: Any, file: BinaryIO) -> None:
        """Write a checkpoint."""
        raise NotImplementedError

    def scan(self, state: Any, summary: pa.RecordBatch) -> PhaseResult:
        """Fold a summary into the state, in place. Returns the decision on its documents, and counts."""
        raise NotImplementedError


def key_ranges(rows: pa.Table, count: int) -> npt.NDArray[np.int64]:
    """The key range of every row, out of `count` equal ranges of the upper 32 bits. Shape (rows,).

    >>> key_ranges(pa.table({"key": pa.array([0, 2**63, 2**64 - 1], pa.uint64())}), 2)
    array([0, 1, 1])
    """
    upper = rows[KEY].to_numpy() >> np.uint64(32)
    return np.asarray(upper * np.uint64(count) >> np.uint64(32), np.int64)


def decided_rows(batch: Batch, decision: Decision) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Match the rows of a batch with the rows of a decision on its shard. Returns row numbers in the batch and in the decision.

    A document with several rows in the decision appears once for each, in their order.

    >>> batch = Batch(pa.record_batch({"ordinal": pa.array([3, 4, 7], pa.uint64())}))
    >>> decided_rows(batch, Decision(pa.table({"ordinal": pa.array([1, 4, 4, 9], pa.uint64())})))
    (array([1, 1]), array([1, 2]))
    """
    decided = decision.rows[ORDINAL].to_numpy()
    ordinals = batch.ordinals
    low, high = np.searchsorted(decided, ordinals), np.searchsorted(decided, ordinals, side="right")
    if not len(ordinals) or low[0] == high[-1]:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    in_batch = np.repeat(np.arange(len(ordinals)), high - low)
    in_decision = np.arange(int(low[0]), int(high[-1]))
    return in_batch, in_decision[np.isin(decided[in_decision], ordinals)]
