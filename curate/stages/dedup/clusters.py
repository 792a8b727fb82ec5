"""Which document of a cluster stays: the base of `exact_dedup` and `minhash`.

Every document has a rank, the smaller the better; equal ranks are ordered by position in the input. Documents of an index
(`against`) come before all others, so that new copies of them are dropped. The best document of a cluster is its winner. The
drop reason of the others has the similarity with the winner as its value and the winner's id as its detail.
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
    """Base of global stages that keep one document of each cluster."""

    keep: Literal["first", "longest", "highest"] = "first"
    """The document of a cluster to keep: the first, the longest, or the one with the highest `column`; ties go to the first."""
    column: str | None = None
    """Numeric column for `keep: highest`. Null and NaN come last."""
    against: tuple[AssetPath, ...] = ()
    """Indexes of earlier runs. Documents like one of an index are dropped."""

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
        """The rank of every document, at least 1. The smallest of a cluster wins. Shape (rows,)."""
        if self.keep == "longest":
            return np.uint64(2**62) - batch.chars.astype(np.uint64)
        if self.column is None:
            return np.ones(len(batch), np.uint64)
        scores = pc.fill_null(batch[self.column].cast(pa.float64(), safe=False), np.nan).to_numpy(zero_copy_only=False)
        worst = np.isnan(scores)
        ranks = descending(np.where(worst, 0.0, scores))
        return np.where(worst, np.uint64(2**64 - 1), np.maximum(ranks, np.uint64(1)))

    def apply_decision_as(self, batch: Batch, decision: Decision, reason: str) -> Batch:
        """Drop the documents that a decision names, for `reason`."""
        rows, decisions = decided_rows(batch, decision)
        dropped = np.zeros(len(batch), np.bool_)
        dropped[rows] = True
        columns = {
            name: pc.replace_with_mask(
                pa.nulls(len(batch), dtype), pa.array(dropped), decision.rows[name].combine_chunks().take(pa.array(decisions))
            )
            for name, dtype in self.decision_columns.items()
            if name != ORDINAL
        }
        return drop_where(batch, dropped, reason, value=columns[SIMILARITY], detail=columns[WINNER])


def with_indexed_first(preferences: U64, ordinals: U64) -> U64:
    """The ranks, with 0 for documents of an index, which come before all others."""
    return np.where(ordinals >= np.uint64(INDEXED), np.uint64(0), preferences)


def descending(scores: npt.NDArray[np.float64]) -> U64:
    """Order-reversing map of float64 to uint64: IEEE 754 bits, made monotone by flipping negatives, then inverted."""
    bits = (np.ascontiguousarray(scores, np.float64) + 0.0).view(np.uint64)
    sign = np.uint64(1 << 63)
    ascending = np.where(bits & sign, ~bits, bits | sign)
    return np.asarray(~ascending)
