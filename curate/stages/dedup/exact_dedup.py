"""Drop documents whose text, normalised text or URL equals that of a document that stays.

- `by: text`: the same bytes.
- `by: normalized`: the same sequence of words with letters or digits, in lower case. White space, layout and punctuation make
  no difference, numbers do.
- `by: url`: the same address. Scheme, fragment, the scheme's default port and the case of the host make no difference.

The drop reason has the similarity with the winner as its value, 1 (for `url` null, since the texts may differ), and the
winner's id as its detail. A document without a text (or without a URL, by `url`, or without words, by `normalized`) equals no
other and stays.

Decisions. Keys are 128 bits of BLAKE2b: with 64 bits a few of 10^10 documents would share one. By `normalized` the digest is
taken over 64-bit hashes of words, so collisions can be constructed; by `text` they cannot. One key, rank, ordinal and id per
document is shuffled, once. All copies of a text are in one task, which needs about 250 bytes of memory for each. Empty texts
are no duplicates of each other: a filter that drops them gives the better reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa

from curate.api.batch import Batch
from curate.api.global_stage import KEY, Decision, Phase, PhaseResult
from curate.schema import ID, INDEXED, ORDINAL, TEXT, URL
from curate.stages.dedup.clusters import SIMILARITY, WINNER, ClusterWinner, with_indexed_first

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, kw_only=True)
class ExactDedup(ClusterWinner):
    """Drops equal documents."""

    by: Literal["text", "normalized", "url"] = "text"

    reasons = ("duplicate",)
    index_options = ("by",)
    summary_options = ("by", "keep", "column")
    summary_columns = {KEY: pa.uint64(), "key_low": pa.uint64(), "rank": pa.uint64(), ORDINAL: pa.uint64(), ID: pa.string()}

    @property
    def reads(self) -> Mapping[str, pa.DataType]:
        return (
            super().reads
            if self.by != "url" or self.keep == "longest"
            else {n: t for n, t in super().reads.items() if n != TEXT}
        )

    def open_summarizer(self) -> Callable[[Batch], pa.RecordBatch]:
        digests = {"text": _text_digests, "normalized": _word_digests, "url": _url_digests}[self.by]

        def summarize(batch: Batch) -> pa.RecordBatch:
            keys = digests(batch)
            halves = np.frombuffer(b"".join(key or bytes(16) for key in keys), "<u8").reshape(-1, 2)
            columns = [
                pa.array(halves[:, 0]), pa.array(halves[:, 1]), pa.array(self.preferences(batch)), batch[ORDINAL],
                batch[ID].cast(pa.string()),
            ]  # fmt: skip
            records = pa.RecordBatch.from_arrays(columns, names=list(self.summary_columns))
            return records.filter(pa.array([key is not None for key in keys], pa.bool_()))

        return summarize

    def summarize(self, batch: Batch) -> pa.RecordBatch:
        return self.open_summarizer()(batch)

    @property
    def footprint(self) -> str:
        return "some 90 bytes per document on disk, and as many while groups are made; about 1 GB per task"

    @property
    def first_phase(self) -> Phase:
        return Phase("spread", "shard", self.summary_columns, summary_columns=tuple(self.summary_columns))

    def next_phase(self, phase: Phase, rows: int, counts: Mapping[str, int]) -> Phase | None:
        return Phase("groups", "key", self.decision_columns) if phase.name == "spread" else None

    def run_phase(self, phase: Phase, rows: pa.Table, summaries: Iterator[pa.RecordBatch]) -> PhaseResult:
        if phase.name == "spread":
            return PhaseResult(pa.Table.from_batches(summaries, pa.schema(list(self.summary_columns.items()))))
        return self._groups(rows)

    def _groups(self, rows: pa.Table) -> PhaseResult:
        high, low, ordinals = (rows[name].to_numpy() for name in (KEY, "key_low", ORDINAL))
        ranks = with_indexed_first(rows["rank"].to_numpy(), ordinals)
        order = np.lexsort((ordinals, ranks, low, high))
        high, low = high[order], low[order]
        fresh = np.concatenate([[True], (high[1:] != high[:-1]) | (low[1:] != low[:-1])])[: len(order)]
        winners = order[np.maximum.accumulate(np.where(fresh, np.arange(len(order)), 0))] if len(order) else order
        lost = ~fresh & (ordinals[order] < np.uint64(INDEXED))
        value = 1.0 if self.by != "url" else None
        decided = {
            ORDINAL: pa.array(ordinals[order][lost]),
            WINNER: rows[ID].take(pa.array(winners[lost])),
            SIMILARITY: pa.repeat(pa.scalar(value, pa.float64()), int(lost.sum())),
        }
        groups = int((fresh[:-1] & ~fresh[1:]).sum()) if len(fresh) else 0
        return PhaseResult(pa.table(decided), {"groups of equals": groups})

    def apply_decision(self, batch: Batch, decision: Decision) -> Batch:
        return self.apply_decision_as(batch, decision, "duplicate")


def _digest(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _text_digests(batch: Batch) -> Sequence[bytes | None]:
    texts = batch.buffers
    data = memoryview(texts.data)  # type: ignore[arg-type]
    spans = zip(texts.starts.tolist(), texts.ends.tolist(), strict=True)
    return [_digest(data[start:end]) if end > start else None for start, end in spans]


def _word_digests(batch: Batch) -> Sequence[bytes | None]:
    from curate.text.dedup.shingles import word_shingles

    words = word_shingles(batch.words("uax29"), 1)
    data, bounds = memoryview(words.hashes.astype("<u8").tobytes()), (8 * words.bounds).tolist()
    return [_digest(data[start:end]) if end > start else None for start, end in pairwise(bounds)]


def _url_digests(batch: Batch) -> Sequence[bytes | None]:
    return [_digest(address_of(url).encode()) if url else None for url in batch[URL].to_pylist()]


def address_of(url: str) -> str:
    """The part of a URL that is compared: host, port, path and query. A URL that cannot be parsed is returned unchanged."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port and parts.port != _PORTS.get(parts.scheme) else ""
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return url
    query = f"?{parts.query}" if parts.query else ""
    return f"{host}{port}{parts.path or '/'}{query}"
