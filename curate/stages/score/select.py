"""Keep the top share of all documents by a score: exact, deterministic and in bounded memory.

Documents are ranked by score, descending. Ties are broken by a keyed hash of the document, so that they favour no file. The
longest prefix of the ranking is kept whose documents, characters or tokens do not exceed `top` times the total of all documents
with a score. Documents without one (null or NaN) are dropped for `no_score`.

With `gumbel` the choice is random: documents are ranked by score / gumbel plus standard Gumbel noise, which depends only on the
seed and the document's id, so that neither files nor their order change the choice. The k highest are k draws without
replacement, in proportion to exp(score / gumbel) (Kool et al. 2019, "Stochastic Beams and Where to Find Them"). MATES (Yu et
al. 2024, arXiv:2406.06046) subtracts the noise, `gumbel_rule: mates`: that side of the distribution rarely lifts a document
far, so the choice follows the scores more closely at the same temperature.

The limit is found by a radix selection over the 128-bit rank (64 bits of score, 64 of tie-break). In every round each shard
maps its summary to a histogram over the next 16 bits, and the bin that contains the limit is refined in the next round. When
that bin holds at most COLLECT rows, these are fetched and sorted. A corpus of distinct scores needs two or three rounds. Memory
is 65,536 bins or COLLECT rows, whatever the number of documents.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from annotated_types import Ge, Gt, Le

from curate.api.batch import Batch, drop_where
from curate.api.global_stage import Aggregate, Decision, NextRound
from curate.schema import ID, ORDINAL, TEXT, keyed_hash
from curate.stages.dedup.clusters import descending

U64 = npt.NDArray[np.uint64]
COLLECT = 1_000_000
_DIGIT_BITS = 16
_DIGITS = 128 // _DIGIT_BITS
_MASK = np.uint64(2**_DIGIT_BITS - 1)


@dataclass(frozen=True, kw_only=True)
class Select(Aggregate):
    """Keeps the top share of documents by a column."""

    column: str
    top: Annotated[float, Ge(0), Le(1)]
    by: Literal["docs", "chars", "tokens"] = "docs"
    """Unit of the share: documents, code points of text, or the column `tokens`."""
    gumbel: Annotated[float, Gt(0)] | None = None
    """Temperature, in units of the column. Near 0 the choice is the top share by score, at infinity a random share."""
    gumbel_rule: Literal["top_k", "mates"] = "top_k"
    """Draws without replacement, or the rule of MATES's released code."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of the noise, and of the order of documents with equal scores."""

    revision = 2  # ties and noise are drawn for purposes of their own
    reasons = ("no_score", "below_top")
    summary_options = ("column", "by", "gumbel", "gumbel_rule", "seed")
    footprint = "24 bytes per document on disk, at most 64 MB in its decide task"
    summary_columns = {ORDINAL: pa.uint64(), "score": pa.float64(), "weight": pa.int64()}

    @property
    def reads(self) -> Mapping[str, pa.DataType]:
        weights: dict[str, dict[str, pa.DataType]] = {
            "docs": {},
            "chars": {TEXT: pa.large_string()},
            "tokens": {"tokens": pa.int64()},
        }
        return {self.column: pa.float64(), **weights[self.by], **({ID: pa.string()} if self.gumbel else {})}

    @property
    def value_columns(self) -> Mapping[str, str]:
        return {} if self.gumbel else {"below_top": self.column}

    def summarize(self, batch: Batch) -> pa.RecordBatch:
        scores = self._scores(batch)
        columns = [batch[ORDINAL], scores, pa.array(self._weights(batch))]
        rows = pa.RecordBatch.from_arrays(columns, names=list(self.summary_columns))
        return rows.filter(pc.invert(pc.is_null(scores, nan_is_null=True)))

    def _scores(self, batch: Batch) -> pa.Array:
        """The values that documents are ranked by: scores, with noise if `gumbel` is set. Shape (rows,)."""
        scores = batch[self.column].cast(pa.float64(), safe=False)
        if self.gumbel is None:
            return scores
        noise = gumbel_noise(batch[ID], self.seed)
        return pc.add(pc.divide(scores, self.gumbel), pa.array(noise if self.gumbel_rule == "top_k" else -noise))

    def _weights(self, batch: Batch) -> npt.NDArray[np.int64]:
        if self.by == "docs":
            return np.ones(len(batch), np.int64)
        if self.by == "chars":
            return batch.chars
        return np.asarray(pc.fill_null(batch["tokens"].cast(pa.int64()), 0).to_numpy(zero_copy_only=False))

    def map_shard(self, rows: pa.Table, this_round: NextRound | None) -> pa.Table:
        """Counts and weights per bin of the next digit, of rows with this round's prefix. In the last round, those rows."""
        high, low = self._ranks(rows["score"].to_numpy(), rows[ORDINAL].to_numpy())
        weights = rows["weight"].to_numpy()
        prefix = this_round.rows["digit"].to_pylist() if this_round else []
        inside = np.ones(len(weights), np.bool_)
        for position, digit in enumerate(prefix):
            inside &= _digit(high, low, position) == digit
        if this_round is not None and this_round.rows.schema.metadata[b"collect"] == b"1":
            return rows.filter(pa.array(inside))
        digits = _digit(high[inside], low[inside], len(prefix)).astype(np.int64)
        bins, index = np.unique(digits, return_inverse=True)
        counts = np.bincount(index, minlength=len(bins)).astype(np.int64)
        sums = np.zeros(len(bins), np.int64)
        np.add.at(sums, index, weights[inside])
        return pa.table({"digit": bins, "count": counts, "weight": sums})

    def reduce(self, tables: Iterable[pa.Table], this_round: NextRound | None) -> NextRound | Decision:
        if this_round is not None and this_round.rows.schema.metadata[b"collect"] == b"1":
            return self._limit(pa.concat_tables(tables), _number(this_round, b"budget"))
        counts, weights = np.zeros(2**_DIGIT_BITS, np.int64), np.zeros(2**_DIGIT_BITS, np.int64)
        for table in tables:
            np.add.at(counts, table["digit"].to_numpy(), table["count"].to_numpy())
            np.add.at(weights, table["digit"].to_numpy(), table["weight"].to_numpy())
        # Exact in integers: floor(0.1 * 30) must be 3, so the share is taken as the decimal that was written.
        budget = _number(this_round, b"budget") if this_round else math.floor(Fraction(str(self.top)) * int(weights.sum()))
        total = np.cumsum(weights)
        over = np.flatnonzero((total > budget) & (counts > 0))
        if not over.size:
            return self._decision(None, None, everything=True)
        digit = int(over[0])
        prefix = [*(this_round.rows["digit"].to_pylist() if this_round else []), digit]
        collect = counts[digit] <= COLLECT or len(prefix) == _DIGITS
        return _next_round(prefix, budget - int(total[digit] - weights[digit]), collect)

    def _limit(self, rows: pa.Table, budget: int) -> Decision:
        """The decision: the first document beyond the budget, among the rows of the bin in which it ends."""
        scores, ordinals = rows["score"].to_numpy(), rows[ORDINAL].to_numpy()
        high, low = self._ranks(scores, ordinals)
        order = np.lexsort((low, high))
        first_out = int(np.argmax(np.cumsum(rows["weight"].to_numpy()[order]) > budget))
        row = order[first_out]
        return self._decision(float(scores[row]), int(ordinals[row]), everything=False)

    def _decision(self, score: float | None, ordinal: int | None, *, everything: bool) -> Decision:
        columns = {
            "score": pa.array([score], pa.float64()),
            ORDINAL: pa.array([ordinal], pa.uint64()),
            "everything": pa.array([everything]),
        }
        return Decision(pa.table(columns))

    def apply_decision(self, batch: Batch, decision: Decision) -> Batch:
        scores = self._scores(batch)
        batch = drop_where(batch, pc.is_null(scores, nan_is_null=True), "no_score")
        limit = decision.rows.to_pylist()[0]
        if limit["everything"]:
            return batch
        values = np.asarray(pc.fill_null(scores, math.nan).to_numpy(zero_copy_only=False))
        high, low = self._ranks(values, batch.ordinals)
        limit_high, limit_low = self._ranks(np.array([limit["score"]]), np.array([limit[ORDINAL]], np.uint64))
        below = (high > limit_high) | ((high == limit_high) & (low >= limit_low))
        return drop_where(batch, below, "below_top", value=values, limit=limit["score"])

    def _ranks(self, scores: npt.NDArray[np.float64], ordinals: U64) -> tuple[U64, U64]:
        """(high, low): ascending from the best document on, distinct for distinct documents."""
        return descending(scores), keyed_hash(ordinals, "ties of select", self.seed)


def gumbel_noise(ids: pa.Array, seed: int) -> npt.NDArray[np.float64]:
    """Standard Gumbel noise of each id: mean 0.577, standard deviation 1.283."""
    from curate.text.unicode.hashing import hash_column

    uniform = ((keyed_hash(hash_column(ids), "noise of select", seed) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return np.asarray(-np.log(-np.log(uniform)))


def _digit(high: U64, low: U64, position: int) -> U64:
    """16 bits of the 128-bit rank; position 0 is the most significant."""
    word = high if position < _DIGITS // 2 else low
    shift = np.uint64(64 - _DIGIT_BITS * (position % (_DIGITS // 2) + 1))
    return (word >> shift) & _MASK


def _next_round(prefix: list[int], budget: int, collect: bool) -> NextRound:
    rows = pa.table({"digit": pa.array(prefix, pa.int64())})
    return NextRound(rows.replace_schema_metadata({"budget": str(budget), "collect": str(int(collect))}))


def _number(this_round: NextRound | None, key: bytes) -> int:
    assert this_round is not None
    return int(this_round.rows.schema.metadata[key])
