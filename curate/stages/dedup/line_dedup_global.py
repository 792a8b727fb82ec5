"""Remove lines or paragraphs that occur elsewhere in the corpus: menus, notices, disclaimers, mirrored articles.

A unit is a line, or with `unit: paragraph` the text between empty lines. Units are compared in lower case, without accents and
punctuation, with all numbers equal (`text/dedup/normalize.py`). Those with fewer than `min_chars` remaining characters are
ignored. Of a unit that occurs `min_count` times or more in all documents together

- `keep: first` leaves the first occurrence, in input order, and removes the others;
- `keep: none` removes all.

A removed unit takes the line feed or the empty lines before it along. Edits: `repeated_line`, `repeated_paragraph`. A document
of which nothing but white space is left is dropped for `nothing_left`, one that loses more than `max_removed_frac` of its
characters for `too_many_chars_removed` (value: the share); a dropped text stays as it was. `against`: units of the documents of
an index count, and come first.

Source: Wenzek et al. 2020, "CCNet" (arXiv:1911.00359), section 3.1: paragraphs, that is lines, of normalised text, by 64 bits
of SHA-1, within a group of shards. Here it is the whole corpus, and hashes are those of `text/unicode/hashing.py`.

Decisions. Units are counted once, in texts as they arrive: units of a document that is dropped afterwards count too, and the
first occurrence may be in such a document. The shuffle moves 20 bytes per unit. Among 10^12 different units about 27,000 pairs
share a hash, which is negligible. All occurrences of a unit are in one task: a menu line of 10^8 pages takes 6 GB there.
`exact_dedup` and `c4_quality` before this stage, and `min_chars`, remove most of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from annotated_types import Ge, Le

from curate.api.batch import Batch
from curate.api.global_stage import KEY, Columns, Decision, Phase, PhaseResult, Shuffle, decided_rows
from curate.config.options import AssetPath
from curate.schema import INDEXED, ORDINAL, TEXT
from curate.stages.filters.remove_spans import Unit, remove_units, split_units


@dataclass(frozen=True, kw_only=True)
class LineDedupGlobal(Shuffle):
    """Removes lines or paragraphs that are repeated across the corpus."""

    unit: Unit = "line"
    keep: Literal["first", "none"] = "first"
    min_count: Annotated[int, Ge(2)] = 2
    """Number of occurrences from which on a unit is removed."""
    min_chars: Annotated[int, Ge(1)] = 1
    """Units that are shorter after normalisation stay, however often they occur."""
    max_removed_frac: Annotated[float, Ge(0), Le(1)] | None = None
    """Largest share of a text's characters that may be removed."""
    against: tuple[AssetPath, ...] = ()
    """Indexes of earlier runs: their units come first."""

    reasons = ("nothing_left", "too_many_chars_removed")
    writes = {TEXT: pa.large_string()}
    index_options = ("unit", "min_chars")
    summary_options = index_options
    summary_columns = {ORDINAL: pa.uint64(), "units": pa.large_list(pa.uint64())}

    @property
    def indexes(self) -> tuple[str, ...]:
        return self.against

    @property
    def decision_columns(self) -> Columns:
        return {ORDINAL: pa.uint64(), "place": pa.uint32()}

    def summarize(self, batch: Batch) -> pa.RecordBatch:
        """The hash of every unit, 0 for units shorter than `min_chars`."""
        from curate.text.dedup.normalize import simplify
        from curate.text.unicode.hashing import hash_column

        parts = split_units(batch[TEXT], self.unit)
        units = simplify(pc.list_flatten(parts))
        hashes = np.maximum(hash_column(units), np.uint64(1))
        hashes[pc.utf8_length(units).to_numpy(zero_copy_only=False) < self.min_chars] = 0
        counts = pc.fill_null(pc.list_value_length(parts), 0).to_numpy(zero_copy_only=False)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        lists = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(hashes))
        return pa.RecordBatch.from_arrays([batch[ORDINAL], lists], names=list(self.summary_columns))

    @property
    def footprint(self) -> str:
        return f"8 bytes per {self.unit} on disk, 20 more while they are counted; about 1 GB per task"

    @property
    def first_phase(self) -> Phase:
        columns: Columns = {KEY: pa.uint64(), ORDINAL: pa.uint64(), "place": pa.uint32()}
        return Phase("spread", "shard", columns, summary_columns=tuple(self.summary_columns))

    def next_phase(self, phase: Phase, rows: int, counts: Mapping[str, int]) -> Phase | None:
        return Phase("units", "key", self.decision_columns) if phase.name == "spread" else None

    def run_phase(self, phase: Phase, rows: pa.Table, summaries: Iterator[pa.RecordBatch]) -> PhaseResult:
        return self._spread(summaries) if phase.name == "spread" else self._units(rows)

    def _spread(self, summaries: Iterator[pa.RecordBatch]) -> PhaseResult:
        tables = [pa.schema(list(self.first_phase.writes.items())).empty_table()]
        for records in summaries:
            units = records["units"]
            keys, counts = pc.list_flatten(units).to_numpy(), pc.list_value_length(units).to_numpy()
            ordinals = np.repeat(records[ORDINAL].to_numpy(), counts)
            numbers = np.arange(len(keys)) - np.repeat(np.cumsum(counts) - counts, counts)
            counted = keys != 0
            columns = [keys[counted], ordinals[counted], numbers[counted].astype(np.uint32)]
            tables.append(pa.table(dict(zip(self.first_phase.writes, columns, strict=True))))
        return PhaseResult(pa.concat_tables(tables))

    def _units(self, rows: pa.Table) -> PhaseResult:
        keys, ordinals, numbers = (rows[name].to_numpy() for name in self.first_phase.writes)
        # Counted from the first ordinal of an index, modulo 2^64, documents of indexes come before all others.
        order = np.lexsort((numbers, ordinals - np.uint64(INDEXED), keys))
        keys, ordinals, numbers = keys[order], ordinals[order], numbers[order]
        fresh = np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)]
        starts = np.flatnonzero(fresh)
        counts = np.diff(np.append(starts, len(keys)))
        removed = np.repeat(counts >= self.min_count, counts)
        if self.keep == "first":
            removed &= ~fresh
        removed &= ordinals < np.uint64(INDEXED)
        decided = pa.table({ORDINAL: ordinals[removed], "place": numbers[removed]})
        return PhaseResult(decided, {"repeated units": int((counts >= self.min_count).sum()), "units cut": int(removed.sum())})

    def apply_decision(self, batch: Batch, decision: Decision) -> Batch:
        rows, decisions = decided_rows(batch, decision)
        numbers = decision.rows["place"].to_numpy()[decisions]
        return remove_units(
            batch, rows, numbers, unit=self.unit, rule=f"repeated_{self.unit}", max_removed_frac=self.max_removed_frac
        )  # fmt: skip
