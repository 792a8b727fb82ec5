"""Drop near-duplicates: documents whose MinHash signature agrees in a whole band with that of a document that stays.

A document is the set of its n-grams of words (`unit: chars`: of characters). Its signature has `buckets` bands of `rows`
values. Two documents agree in a value with the probability of their Jaccard similarity s. They are a candidate pair when they
agree in all values of a band, with probability 1 - (1 - s**rows)**buckets: by default 0.56, 0.77, 0.92 and 0.99 at
similarities 0.7, 0.75, 0.8 and 0.85.

- By default a cluster is a connected component of candidate pairs, and all of it but its winner is dropped (as in datatrove and
  NeMo Curator). Pairs are not compared again, so a chain of neighbours may connect documents that are not alike. A cluster of
  more than `max_cluster` documents is therefore resolved as with `verify`, by the estimated similarity.
- `verify: true`: a document is dropped only if it shares a band with a document that stays and their true similarity is at
  least `min_jaccard`. Documents are taken in the order of their rank, so no chain forms, and a document is never dropped for
  one that is dropped itself.

The drop reason has the estimated (verified: the true) similarity with the winner as its value and the winner's id as its
detail. A text with fewer words than `ngram` has one n-gram of all its words: it equals texts with the same words. One without
words equals no other and stays.

`family: datatrove-0.10` makes datatrove's signatures bit for bit (`text/dedup/normalize.py`, spaCy's words, its permutations),
and so the same clusters. It gives a text of fewer words than `ngram` no signature; such texts stay.

Sources: Broder 1997, "On the resemblance and containment of documents"; Lee et al. 2022, arXiv:2107.06499, section 4.2 and
appendix A; Penedo et al. 2024, arXiv:2406.17557, appendix E.1 (14 x 8, 5-grams). `text/dedup/minhash.py` defines signatures.

Decisions. Words have letters or digits and are compared in lower case: layout and punctuation make no difference. The shuffle
moves 24 bytes per document and band. A bucket of equal keys adds one edge per document, and the component of a key range is
again one edge per document, in both directions. Up to UNION_ROWS of these are united in one task, at 150 bytes of memory each;
more are contracted by large-star and small-star (Kiveris et al. 2014, "Connected components in MapReduce and beyond") in
rounds of tasks over key ranges. Both find the same components. True similarities need the n-grams of a document beside its
signature, 4 bytes each; two n-grams share 32 bits once in 4e9 pairs. The documents of a cluster are in one task: the largest
cluster bounds its memory from below, at 250 bytes a document, and to verify 4 more per word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from annotated_types import Ge, Gt, Le

from curate.api.batch import Batch
from curate.api.global_stage import KEY, Columns, Decision, Phase, PhaseResult
from curate.schema import ID, INDEXED, ORDINAL, mix
from curate.stages.dedup.clusters import SIMILARITY, WINNER, ClusterWinner, with_indexed_first
from curate.stages.dedup.connected_components import (
    CROOKED,
    EDGES,
    LABELS,
    NODE_KEY,
    connected,
    in_bands,
    labelled,
    large_star,
    small_star,
)

if TYPE_CHECKING:
    from curate.text.dedup.shingles import Shingles

Ints = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

UNION_ROWS = 8_000_000
"""Most rows of edges, two for each, that are united in one task. They take 1.2 GB."""


@dataclass(frozen=True, kw_only=True)
class Minhash(ClusterWinner):
    """Drops near-duplicates by MinHash and banding."""

    ngram: Annotated[int, Ge(1)] = 5
    unit: Literal["words", "chars"] = "words"
    buckets: Annotated[int, Ge(1)] = 14
    """Number of bands of a signature."""
    rows: Annotated[int, Ge(1)] = 8
    """Number of values in a band."""
    seed: Annotated[int, Ge(0)] = 1
    family: Literal["ours", "datatrove-0.10"] = "ours"
    hash_bits: Literal[32, 64] = 32
    """Width of a value of the family `ours`."""
    shingle_hash: Literal["xxhash64", "sha1"] = "xxhash64"
    """Hash of an n-gram in the family `datatrove-0.10`: its default, or that of FineWeb."""
    verify: bool = False
    """Drop only documents whose true similarity to one that stays is at least min_jaccard."""
    min_jaccard: Annotated[float, Gt(0), Le(1)] = 0.75
    max_cluster: Annotated[int, Ge(1)] | None = 100_000
    """In larger clusters, drop only documents that are like one that stays, by min_jaccard."""

    reasons = ("near_duplicate",)
    index_options = ("ngram", "unit", "buckets", "rows", "seed", "family", "hash_bits", "shingle_hash")
    summary_options = (*index_options, "keep", "column", "verify")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.family == "datatrove-0.10" and self.unit == "chars":
            raise ValueError("family: datatrove-0.10 knows n-grams of words only. Leave out 'unit: chars'")
        if self.family == "datatrove-0.10" and (self.hash_bits != 32 or self.seed >= 2**32):
            raise ValueError("family: datatrove-0.10 has values of its own width and seeds below 2^32. Leave out hash_bits")
        if self.family == "ours" and self.shingle_hash != "xxhash64":
            raise ValueError("shingle_hash is an option of family: datatrove-0.10. Leave it out")

    @property
    def summary_columns(self) -> Mapping[str, pa.DataType]:
        columns: dict[str, pa.DataType] = {
            ORDINAL: pa.uint64(),
            "rank": pa.uint64(),
            ID: pa.string(),
            "keys": pa.binary(8 * self.buckets),
            "signature": pa.binary(self.buckets * self.rows),
        }
        return {**columns, "shingles": pa.large_list(pa.uint32())} if self.verify else columns

    def open_summarizer(self) -> Callable[[Batch], pa.RecordBatch]:
        from curate.text.dedup.minhash import MinHash, signature_bytes

        make = MinHash(
            buckets=self.buckets, rows=self.rows, seed=self.seed, family=self.family, hash_bits=self.hash_bits
        )  # fmt: skip

        def summarize(batch: Batch) -> pa.RecordBatch:
            shingles = self._shingles(batch)
            signatures = make(shingles)
            columns = [
                batch[ORDINAL],
                pa.array(self.preferences(batch)),
                batch[ID].cast(pa.string()),
                _rows_as_bytes(make.band_keys(signatures)),
                _rows_as_bytes(signature_bytes(signatures)),
            ]
            if self.verify:
                columns.append(_sets(shingles))
            records = pa.RecordBatch.from_arrays(columns, names=list(self.summary_columns))
            return records.filter(pa.array(np.diff(shingles.bounds) > 0))

        return summarize

    def summarize(self, batch: Batch) -> pa.RecordBatch:
        return self.open_summarizer()(batch)

    def _shingles(self, batch: Batch) -> Shingles:
        from curate.text.dedup.shingles import char_shingles, datatrove_shingles, word_shingles

        if self.family == "datatrove-0.10":
            from curate.text.dedup.normalize import simplify
            from curate.text.unicode.buffers import text_buffers
            from curate.text.words.cut import cut_words

            words = cut_words(text_buffers(simplify(batch["text"])), "spacy")
            return datatrove_shingles(words, self.ngram, self.shingle_hash)
        if self.unit == "words":
            return word_shingles(batch.words("uax29"), self.ngram)
        return char_shingles(batch.buffers, self.ngram)

    @property
    def footprint(self) -> str:
        own = self.buckets * (8 + self.rows) + 60
        sets = ", 4 more per n-gram" if self.verify else ""
        shuffled = 24 * self.buckets
        return f"some {own} bytes per document on disk{sets}, {shuffled} more while bands are matched; about 1 GB per task"

    # -- bands -> edges -> labels -> clusters

    @property
    def first_phase(self) -> Phase:
        columns: Columns = {KEY: pa.uint64(), "rank": pa.uint64(), ORDINAL: pa.uint64()}
        return Phase("spread", "shard", columns, summary_columns=(ORDINAL, "rank", "keys"))

    def next_phase(self, phase: Phase, rows: int, counts: Mapping[str, int]) -> Phase | None:
        attach = Phase("attach", "shard", self._members, summary_columns=tuple(self.summary_columns))
        large = Phase("large-star", "key", EDGES)
        match phase.name:
            case "spread":
                return Phase("bands", "key", EDGES)
            case "bands":
                return Phase("union", "key", LABELS, single_task=True) if rows <= UNION_ROWS else large
            case "large-star":
                return Phase("small-star", "key", EDGES) if counts[CROOKED] else Phase("labels", "key", LABELS)
            case "small-star":
                return large
            case "union" | "labels":
                return attach
            case "attach":
                return Phase("clusters", "key", self.decision_columns)
        return None

    @property
    def _members(self) -> Columns:
        return {KEY: pa.uint64(), "label": pa.uint64(), **self.summary_columns}

    def run_phase(self, phase: Phase, rows: pa.Table, summaries: Iterator[pa.RecordBatch]) -> PhaseResult:
        match phase.name:
            case "spread":
                return PhaseResult(self._spread(summaries))
            case "bands":
                return PhaseResult(connected(in_bands(rows)))
            case "union":
                return PhaseResult(labelled(connected(rows)))
            case "large-star":
                return large_star(rows)
            case "small-star":
                return PhaseResult(small_star(rows))
            case "labels":
                return PhaseResult(labelled(rows))
            case "attach":
                return PhaseResult(self._attach(rows, summaries))
        return self._clusters(rows)

    def _spread(self, summaries: Iterator[pa.RecordBatch]) -> pa.Table:
        parts = []
        for records in summaries:
            ordinals = records[ORDINAL].to_numpy()
            ranks = with_indexed_first(records["rank"].to_numpy(), ordinals)
            keys = _bytes_as_rows(records["keys"], np.dtype(np.uint64))
            columns = [keys.ravel(), np.repeat(ranks, self.buckets), np.repeat(ordinals, self.buckets)]
            parts.append(pa.table(dict(zip(self.first_phase.writes, columns, strict=True))))
        return pa.concat_tables([_empty(self.first_phase.writes), *parts])

    def _attach(self, rows: pa.Table, summaries: Iterator[pa.RecordBatch]) -> pa.Table:
        """The summary of every document that has a label, with its label."""
        ordinals, labels = rows[ORDINAL].to_numpy(), rows["label"].to_numpy()
        parts = []
        for records in summaries:
            shard_ordinals = records[ORDINAL].to_numpy()
            index = np.minimum(np.searchsorted(ordinals, shard_ordinals), max(0, len(ordinals) - 1))
            has_label = ordinals[index] == shard_ordinals if len(ordinals) else np.zeros(len(shard_ordinals), np.bool_)
            label = labels[index[has_label]] if len(ordinals) else shard_ordinals[:0]
            kept = pa.Table.from_batches([records.filter(pa.array(has_label))])
            ranks = with_indexed_first(kept["rank"].to_numpy(), kept[ORDINAL].to_numpy())
            kept = kept.set_column(kept.schema.get_field_index("rank"), "rank", pa.array(ranks))
            keys = {KEY: pa.array(mix(label, NODE_KEY)), "label": pa.array(label)}
            parts.append(pa.table({**keys, **dict(zip(kept.column_names, kept.columns, strict=True))}))
        return pa.concat_tables([_empty(self._members), *parts])

    def _clusters(self, rows: pa.Table) -> PhaseResult:
        order = np.lexsort((rows[ORDINAL].to_numpy(), rows["rank"].to_numpy(), rows["label"].to_numpy()))
        rows = rows.take(pa.array(order)).combine_chunks()
        labels, ordinals = rows["label"].to_numpy(), rows[ORDINAL].to_numpy()
        starts = np.flatnonzero(np.concatenate([[True], labels[1:] != labels[:-1]])) if len(labels) else np.zeros(0, np.int64)
        sizes = np.diff(np.append(starts, len(labels)))
        winners = np.repeat(starts, sizes)
        members = _Members(rows, verify=self.verify)
        similarities = members.estimates(winners)
        counts = _histogram(sizes)
        large = sizes > self.max_cluster if self.max_cluster else np.zeros(len(sizes), np.bool_)
        for start, size in zip(starts[large | self.verify].tolist(), sizes[large | self.verify].tolist(), strict=True):
            stop = start + size
            indexed = int((ordinals[start:stop] >= np.uint64(INDEXED)).sum())
            follows, like = members.leaders(start, stop, indexed, self.min_jaccard)
            winners[start:stop], similarities[start:stop] = start + follows, like
            counts["clusters over max_cluster"] += bool(self.max_cluster and size > self.max_cluster)
            counts["kept, unlike any that stays"] += int((follows == np.arange(size))[max(indexed, 1) :].sum())
        lost = (winners != np.arange(len(rows))) & (ordinals < np.uint64(INDEXED))
        decided = {
            ORDINAL: pa.array(ordinals[lost]),
            WINNER: rows[ID].take(pa.array(winners[lost])),
            SIMILARITY: pa.array(similarities[lost]),
        }
        return PhaseResult(pa.table(decided), {name: count for name, count in counts.items() if count})

    def apply_decision(self, batch: Batch, decision: Decision) -> Batch:
        return self.apply_decision_as(batch, decision, "near_duplicate")


class _Members:
    """The documents of a key range of clusters, as arrays."""

    def __init__(self, rows: pa.Table, *, verify: bool) -> None:
        self.keys = _bytes_as_rows(rows["keys"].combine_chunks(), np.dtype(np.uint64))
        self.signatures = _bytes_as_rows(rows["signature"].combine_chunks(), np.dtype(np.uint8))
        self.bounds, self.sets = np.zeros(len(rows) + 1, np.int64), np.zeros(0, np.uint32)
        if verify and len(rows):
            shingles = pa.concat_arrays(rows["shingles"].chunks)
            self.bounds = shingles.offsets.to_numpy().astype(np.int64)
            self.sets = shingles.values.to_numpy()

    def estimates(self, winners: Ints) -> npt.NDArray[np.float64]:
        """Estimated Jaccard similarity of every document and its winner. Shape (documents,)."""
        from curate.text.dedup.minhash import estimate

        return estimate(self.signatures, self.signatures[winners])

    def leaders(self, start: int, stop: int, fixed: int, least: float) -> tuple[Ints, npt.NDArray[np.float64]]:
        from curate.text.dedup.clusters import leaders

        bounds = self.bounds[start : stop + 1]
        return leaders(self.keys[start:stop], self.signatures[start:stop], bounds, self.sets, fixed, least)


def _histogram(sizes: Ints) -> Counter[str]:
    """Number of clusters by size, in powers of two, and the totals."""
    counts: Counter[str] = Counter()
    if len(sizes):
        classes, clusters = np.unique(np.ceil(np.log2(sizes)).astype(np.int64), return_counts=True)
        for power, count in zip(classes.tolist(), clusters.tolist(), strict=True):
            low, high = 2 ** (power - 1) + 1, 2**power
            counts[f"clusters of {low}" if low == high else f"clusters of {low} to {high}"] = count
        counts["clusters"], counts["documents in clusters"] = len(sizes), int(sizes.sum())
    return counts


def _empty(columns: Columns) -> pa.Table:
    return pa.schema(list(columns.items())).empty_table()


def _rows_as_bytes(rows: npt.NDArray[Any]) -> pa.Array:
    rows = np.ascontiguousarray(rows)
    return pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(rows.itemsize * rows.shape[1]), len(rows), [None, pa.py_buffer(rows)]
    )  # fmt: skip


def _bytes_as_rows(values: pa.Array, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """The inverse of `_rows_as_bytes`. Shape (rows, values)."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    width = values.type.byte_width
    data = np.frombuffer(values.buffers()[1] or b"", np.uint8)[values.offset * width :][: len(values) * width]
    return data.view(dtype).reshape(len(values), width // dtype.itemsize)


def _sets(shingles: Shingles) -> pa.Array:
    from curate.text.dedup.clusters import distinct

    sets, ends = np.empty(len(shingles.hashes), np.uint32), np.empty(len(shingles), np.int64)
    distinct(shingles.bounds, shingles.hashes, sets, ends)
    offsets = np.concatenate([[0], ends]).astype(np.int64)
    return pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(sets[: offsets[-1]]))
