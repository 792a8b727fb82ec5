"""The three ways in which a barrier finds out what it needs of all documents, none of which shows them all to one process.

- `Poll`: a question goes to every sketch, the summaries come back, and a decision or the next question is made of them. The
  decision is small and the same for all shards (`select`).
- `Shuffle`: rows are brought together by a key, worked on group by group, brought together anew, as often as it takes; in
  the end they come back to the shards of their documents (`exact_dedup`, `minhash`, `line_dedup_global`).
- `Fold`: sketches are taken in one after the other, in canonical order, by a state that is saved on the way (`bloom_dedup`).

The decision of the last two is a table per shard, with the ordinals of its documents. All run as tasks, never on the driver.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.api.batch import Batch
from curate.api.stage import Barrier, Decision
from curate.schema import ORDINAL

KEY = "key"
"""A uint64 by which rows are brought together: any number that is spread evenly over all 64 bits."""

Columns = Mapping[str, pa.DataType]


@dataclass(frozen=True)
class Question:
    """Asks for another round of `match`, with what the round needs to know."""

    rows: pa.Table


class Poll(Barrier):
    """Asks all sketches in rounds. Summaries arrive at `decide` in shard order, one at a time: its memory is its own affair."""

    def match(self, rows: pa.Table, question: Question | None) -> pa.Table:
        """The summary of one shard's sketch; `question` is None in the first round."""
        raise NotImplementedError

    def decide(self, summaries: Iterable[pa.Table], question: Question | None) -> Question | Decision:
        """Another question, or the decision."""
        raise NotImplementedError


@dataclass(frozen=True)
class Phase:
    """One pass over all rows: in groups with equal keys (and many keys in a group), or shard by shard."""

    name: str
    over: Literal["key", "shard"]
    """Shard by shard, the sketches are at hand too."""
    sketches: tuple[str, ...] = field(default=(), kw_only=True)
    """Their columns that it needs, `ordinal` first."""
    writes: Columns
    """Columns of the rows it gives. They are brought together by `key` if they have one, else by the shard of `ordinal`."""
    whole: bool = False
    """All rows are one group."""


@dataclass(frozen=True)
class Worked:
    """What a phase makes of one group: rows for the next phase, and counts that are added up over all groups."""

    rows: pa.Table
    counts: Mapping[str, int] = field(default_factory=dict)


class Shuffle(Barrier):
    """Brings rows together by keys. A result must not depend on how keys are dealt to groups, nor on the order of rows."""

    index_options: ClassVar[tuple[str, ...]] = ()
    """Options that an index must have been made with, to be compared."""

    @property
    def indexes(self) -> tuple[str, ...]:
        """Folders that `curate index` wrote: their documents take part, with ordinals from `schema.INDEXED` on."""
        return ()

    @property
    def decisions(self) -> Columns:
        """Columns of the decision, `ordinal` first. Its rows are sorted by all of them."""
        raise NotImplementedError

    @property
    def first(self) -> Phase:
        """The phase that makes rows of the sketches: over shards, with no rows before it."""
        raise NotImplementedError

    def following(self, phase: Phase, rows: int, counts: Mapping[str, int]) -> Phase | None:
        """What comes next, after a phase that gave so many rows and counts in all; None if its rows are the decision."""
        raise NotImplementedError

    def work(self, phase: Phase, rows: pa.Table, sketches: Iterator[pa.RecordBatch]) -> Worked:
        """Rows of one group of keys, or of one range of shards with its sketches, in ascending ordinals."""
        raise NotImplementedError


class Fold(Barrier):
    """Takes in sketches in canonical order. `chains` states, each for some of the input files, go on side by side."""

    @property
    def chains(self) -> int:
        """Input file number n belongs to chain n modulo this."""
        return 1

    @property
    def decisions(self) -> Columns:
        """Columns of the decision, `ordinal` first."""
        raise NotImplementedError

    def weigh(self, sketch: pa.RecordBatch) -> int:
        """How much a sketch adds to the state; the sum of a chain is what `begin` gets."""
        raise NotImplementedError

    def state_bytes(self, weight: int) -> int:
        """Size of the state for so much. It is saved about as often as four times as many bytes have been read."""
        raise NotImplementedError

    def begin(self, weight: int) -> Any:
        """The empty state."""
        raise NotImplementedError

    def load(self, file: BinaryIO) -> Any:
        raise NotImplementedError

    def save(self, state: Any, file: BinaryIO) -> None:
        raise NotImplementedError

    def fold(self, state: Any, sketch: pa.RecordBatch) -> Worked:
        """Take in a sketch, changing the state; the decision on its documents, and counts."""
        raise NotImplementedError


def groups_of(rows: pa.Table, count: int) -> npt.NDArray[np.int64]:
    """The group of every row by its key: equal ranges of the upper 32 bits."""
    upper = rows[KEY].to_numpy() >> np.uint64(32)
    return np.asarray(upper * np.uint64(count) >> np.uint64(32), np.int64)


def rows_of(batch: Batch, decision: Decision) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where a shard's decision speaks of documents of the batch: places in the batch, and in the decision.

    A decision may have several rows for one document; all of them are given, those of a document one after the other.
    """
    decided = decision.rows[ORDINAL].to_numpy()
    ordinals = batch.ordinals
    low, high = np.searchsorted(decided, ordinals), np.searchsorted(decided, ordinals, side="right")
    if not len(ordinals) or low[0] == high[-1]:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    places = np.repeat(np.arange(len(ordinals)), high - low)
    first = int(low[0])
    within = np.arange(first, int(high[-1]))
    inside = np.isin(decided[within], ordinals)
    return places, within[inside]
