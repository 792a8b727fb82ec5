"""Remove paragraphs, and drop documents, most of whose n-grams occurred before: one Bloom filter over the corpus.

Documents are read in input order. A paragraph is a line. Its n-grams are runs of `ngram` words (UAX 29, as written); a shorter
paragraph is a single n-gram if it has `min_ngram` words, else it is ignored.

- In mode `document` or `both`, a document is dropped when more than `max_known_frac` of its n-grams are in the filter
  (`known_document`, value: the share). Its new n-grams are not added to the filter.
- In mode `paragraph` or `both`, a paragraph of a remaining document is removed when more than `max_known_frac` of its n-grams
  are in the filter, with the line feed before it (edit `known_paragraph`). The n-grams of a paragraph that stays are added
  before the next one is tested. A document without any text left is dropped for `nothing_left`.

The filter is sized for all n-grams of the corpus at `false_positive_rate`. That share of the new n-grams counts as known at the
end of the corpus, and fewer before, so it matters only to paragraphs near the limit. A drop reason names no winner: a filter
does not know where it has seen an n-gram.

`filters: N` deals the input files out among N independent filters that run in parallel, as DCLM does with its shards. More
documents are kept. One filter is built by tasks one after the other; it takes 12 bits per n-gram at 0.003, about 1.5 bytes per
word.

Source: Li et al. 2024, "DataComp-LM" (arXiv:2406.11794), section 3.3 and appendix on deduplication: its tool bff in mode
old-both, 13-grams, 0.8.

Differences. bff adds the new n-grams of a document that it drops; later documents with the same text lose it too, so no copy
remains. bff draws its seeds anew in each run and reads documents in the order of its threads; here the same corpus gives the
same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, BinaryIO, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from annotated_types import Ge, Gt, Lt

from curate.api.batch import Batch, drop_where
from curate.api.global_stage import Decision, PhaseResult, SequentialScan, decided_rows
from curate.errors import SpecError
from curate.schema import ORDINAL, TEXT
from curate.stages.filters.remove_spans import remove_units, split_units

DOCUMENT = 2**32 - 1
"""Paragraph number of a decision to drop the document."""


@dataclass(frozen=True, kw_only=True)
class BloomDedup(SequentialScan):
    """Removes paragraphs and drops documents by a Bloom filter of n-grams."""

    mode: Literal["both", "paragraph", "document"] = "both"
    ngram: Annotated[int, Ge(1)] = 13
    min_ngram: Annotated[int, Ge(1)] = 13
    """Words a paragraph must have to be tested."""
    max_known_frac: Annotated[float, Gt(0), Lt(1)] = 0.8
    false_positive_rate: Annotated[float, Gt(0), Lt(1)] = 0.01
    filters: Annotated[int, Ge(1)] = 1
    """Independent filters that run in parallel. An input file belongs to one of them."""
    max_filter_bytes: Annotated[int, Ge(8)] = 64 * 2**30

    reasons = ("known_document", "nothing_left")
    summary_options = ("ngram", "min_ngram")
    summary_columns = {ORDINAL: pa.uint64(), "sizes": pa.large_list(pa.int64()), "hashes": pa.large_list(pa.uint64())}
    decision_columns = {ORDINAL: pa.uint64(), "place": pa.uint32(), "share": pa.float64()}

    def __post_init__(self) -> None:
        if self.min_ngram > self.ngram:
            raise ValueError(f"min_ngram ({self.min_ngram}) is greater than ngram ({self.ngram})")

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        return {} if self.mode == "document" else {TEXT: pa.large_string()}

    @property
    def footprint(self) -> str:
        from curate.text.dedup.bloom import words_for

        bits = 64 * words_for(10**6, self.false_positive_rate) / 10**6
        return (
            f"8 bytes per n-gram on disk; {bits:.1f} bits per n-gram in memory, in {self.filters} task(s) one after the other"
        )

    @property
    def num_partitions(self) -> int:
        return self.filters

    def summarize(self, batch: Batch) -> pa.RecordBatch:
        """The hashes of the n-grams of every text, and the number of n-grams of each paragraph."""
        from curate.text.dedup.shingles import token_shingles
        from curate.text.unicode.buffers import text_buffers
        from curate.text.words.cut import cut_words

        lines = split_units(batch[TEXT], "line")
        words = cut_words(text_buffers(pc.list_flatten(lines)), "uax29")
        shingles = token_shingles(words, self.ngram, self.min_ngram)
        counts = pc.fill_null(pc.list_value_length(lines), 0).to_numpy(zero_copy_only=False)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        sizes = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(np.diff(shingles.bounds)))
        hashes = pa.LargeListArray.from_arrays(pa.array(shingles.bounds[offsets]), pa.array(shingles.hashes))
        return pa.RecordBatch.from_arrays([batch[ORDINAL], sizes, hashes], names=list(self.summary_columns))

    def weight_of(self, summary: pa.RecordBatch) -> int:
        return len(pc.list_flatten(summary["hashes"]))

    def state_bytes(self, weight: int) -> int:
        from curate.text.dedup.bloom import words_for

        return 8 * words_for(max(1, weight), self.false_positive_rate)

    def initial_state(self, weight: int) -> Any:
        from curate.text.dedup.bloom import BloomFilter

        size = self.state_bytes(weight)
        if size > self.max_filter_bytes:
            least = -(-size // self.max_filter_bytes) * self.filters
            raise SpecError(
                f"bloom_dedup: a filter for {weight:,} n-grams at {self.false_positive_rate} takes {size:,} bytes, "
                f"max_filter_bytes is {self.max_filter_bytes:,}. Set filters: {least} or more, or allow more memory."
            )
        return BloomFilter.sized(max(1, weight), self.false_positive_rate)

    def load_state(self, file: BinaryIO) -> Any:
        from curate.text.dedup.bloom import BloomFilter

        return BloomFilter.load(file)

    def save_state(self, state: Any, file: BinaryIO) -> None:
        state.save(file)

    def scan(self, state: Any, summary: pa.RecordBatch) -> PhaseResult:
        from curate.text.dedup.bloom_filtering import sift

        sizes, hashes = summary["sizes"], summary["hashes"]
        counts = pc.list_value_length(sizes).to_numpy()
        documents = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        paragraphs = np.concatenate([[0], np.cumsum(pc.list_flatten(sizes).to_numpy())]).astype(np.int64)
        over = self.max_known_frac
        known = sift(
            state, documents, paragraphs, pc.list_flatten(hashes).to_numpy(),
            document_over=1.0 if self.mode == "paragraph" else over, paragraph_over=1.0 if self.mode == "document" else over,
        )  # fmt: skip
        ordinals = summary[ORDINAL].to_numpy()
        removed, dropped = np.flatnonzero(known.paragraphs), np.flatnonzero(known.documents)
        owners = np.searchsorted(documents, removed, side="right") - 1
        rows = np.concatenate([owners, dropped])
        numbers = np.concatenate([removed - documents[owners], np.full(len(dropped), DOCUMENT)])
        order = np.lexsort((numbers, rows))
        decided = {
            ORDINAL: ordinals[rows[order]],
            "place": numbers[order].astype(np.uint32),
            "share": known.document_shares[rows[order]],
        }
        return PhaseResult(pa.table(decided), {"documents known": len(dropped), "paragraphs known": len(removed)})

    def apply_decision(self, batch: Batch, decision: Decision) -> Batch:
        rows, decisions = decided_rows(batch, decision)
        numbers = decision.rows["place"].to_numpy()[decisions]
        on_document = numbers == DOCUMENT
        dropped, shares = np.zeros(len(batch), np.bool_), np.zeros(len(batch))
        dropped[rows[on_document]] = True
        shares[rows] = decision.rows["share"].to_numpy()[decisions]
        batch = drop_where(batch, dropped, "known_document", value=shares, limit=self.max_known_frac)
        return remove_units(batch, rows[~on_document], numbers[~on_document], unit="line", rule="known_paragraph")
