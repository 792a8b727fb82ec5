"""Which of several equal documents stays: what the deduplicating barriers have in common.

Documents are preferred by a number, the smaller the better, and where it is the same by their place in the input. Documents
of an index (`against`) come before all others, so that what is new goes. The one of a cluster that comes first is its winner;
the verdict on each of the others has its similarity with the winner as the value, and the winner's id as the detail.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.api.batch import Batch, drop_where
from curate.api.global_stage import Columns, Decision, Shuffle, decided_rows
from curate.config.options import AssetPath
from curate.schema import INDEXED, ORDINAL, TEXT

U64 = npt.NDArray[np.uint64]
WINNER, SIMILARITY = "winner", "similarity"


@dataclass(frozen=True, kw_only=True)
class ClusterWinner(Shuffle):
    """Base of barriers that keep one document of each cluster."""

    keep: Literal["first", "longest", "highest"] = "first"
    """Which document of a cluster stays: the first, the longest text, the highest value of `column`; of equals the first."""
    column: str | None = None
    """A column of numbers, for `keep: highest`. Null and NaN come last."""
    against: tuple[AssetPath, ...] = ()
    """Indexes of earlier runs: a document of theirs stays, and what is like it goes."""

    def __post_init__(self) -> None:
        if (self.keep == "highest") != (self.column is not None):
            raise ValueError("keep: highest needs a column, and no other does. Write 'keep: highest, column: NAME'")

    @property
    def indexes(self) -> tuple[str, ...]:
        return self.against

    @property
    def reads(self) -> Mapping[str, pa.DataType]:
        return {TEXT: pa.large_string(), **({self.column: pa.float64()} if self.column else {})}

    @property
    def decision_columns(self) -> Columns:
        return {ORDINAL: pa.uint64(), WINNER: pa.string(), SIMILARITY: pa.float64()}

    def preferences(self, batch: Batch) -> U64:
        """A number for every document, at least 1: the smallest of a cluster is its winner's."""
        if self.keep == "longest":
            return np.uint64(2**62) - batch.chars.astype(np.uint64)
        if self.column is None:
            return np.ones(len(batch), np.uint64)
        scores = pc.fill_null(batch[self.column].cast(pa.float64(), safe=False), np.nan).to_numpy(zero_copy_only=False)
        worst = np.isnan(scores)
        ranks = descending(np.where(worst, 0.0, scores))
        return np.where(worst, np.uint64(2**64 - 1), np.maximum(ranks, np.uint64(1)))

    def apply_decision_as(self, batch: Batch, decision: Decision, reason: str) -> Batch:
        """Verdicts on the documents that a decision names."""
        places, rows = decided_rows(batch, decision)
        where = np.zeros(len(batch), np.bool_)
        where[places] = True
        spread = {
            name: pc.replace_with_mask(
                pa.nulls(len(batch), kind), pa.array(where), decision.rows[name].combine_chunks().take(pa.array(rows))
            )
            for name, kind in self.decision_columns.items()
            if name != ORDINAL
        }
        return drop_where(batch, where, reason, value=spread[SIMILARITY], detail=spread[WINNER])


def with_indexed_first(preferences: U64, ordinals: U64) -> U64:
    """Preferences with those of an index's documents, which come before all others."""
    return np.where(ordinals >= np.uint64(INDEXED), np.uint64(0), preferences)


def descending(scores: npt.NDArray[np.float64]) -> U64:
    """Order-reversing map of float64 to uint64: IEEE 754 bits, made monotone by flipping negatives, then inverted."""
    bits = (np.ascontiguousarray(scores, np.float64) + 0.0).view(np.uint64)
    sign = np.uint64(1 << 63)
    ascending = np.where(bits & sign, ~bits, bits | sign)
    return np.asarray(~ascending)
