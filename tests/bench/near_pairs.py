"""How similar documents really are: all pairs of a corpus by exact Jaccard similarity, and what MinHash makes of them.

A shingle counts once per document. Pairs are found through an index from shingle to documents, without any hashing trick, so
none is missed. Documents are rows 0, 1, ...; `left` < `right` in every pair.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from curate.schema import MAX_BATCH_ROWS
from curate.text.dedup.minhash import NONE, MinHash, jaccard
from curate.text.dedup.normalize import simplify
from curate.text.dedup.shingles import DatatroveHash, Shingles, datatrove_shingles, word_shingles
from curate.text.unicode.buffers import text_buffers
from curate.text.words.cut import cut_words

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Keys = npt.NDArray[np.uint64]
CAPACITY = 1_000_000
"""Pairs that are collected at a time."""


@dataclass(frozen=True)
class Pairs:
    """All pairs of documents from some similarity on, in the order of their rows."""

    left: Ints
    right: Ints
    similarity: Floats

    def __len__(self) -> int:
        return len(self.left)

    def __getitem__(self, chosen: npt.NDArray[np.bool_]) -> Pairs:
        return Pairs(self.left[chosen], self.right[chosen], self.similarity[chosen])


def shingle_sets(texts: pa.ChunkedArray) -> Shingles:
    """Ours, of five words; sorted, and each once per document."""
    return _as_sets(_joined(word_shingles(cut_words(text_buffers(batch), "uax29")) for batch in _batches(texts)))


def compatible_shingles(texts: pa.ChunkedArray, kind: DatatroveHash) -> Shingles:
    """datatrove's, of five words."""
    words = (cut_words(text_buffers(simplify(batch)), "spacy") for batch in _batches(texts))
    return _joined(datatrove_shingles(some, kind=kind) for some in words)


def all_pairs(sets: Shingles, min_jaccard: float) -> Pairs:
    """Every pair of documents that is at least so similar (more than 0)."""
    owners = np.repeat(np.arange(len(sets), dtype=np.int64), np.diff(sets.bounds))
    order = np.argsort(sets.hashes, kind="stable")
    groups = _runs(sets.hashes[order])
    numbers = np.empty(len(order), np.int64)
    numbers[order] = np.repeat(np.arange(len(groups) - 1), np.diff(groups))
    found, row, sizes = [], 0, np.diff(sets.bounds)
    shared = np.zeros(len(sets), np.int32)
    while row < len(sets):
        left, right = np.empty(CAPACITY + len(sets), np.int64), np.empty(CAPACITY + len(sets), np.int64)
        similarity = np.empty(CAPACITY + len(sets), np.float64)
        row, used = _pairs(
            row, sets.bounds, sizes, numbers, groups, owners[order], min_jaccard, shared, left, right, similarity, CAPACITY
        )
        found.append((left[:used].copy(), right[:used].copy(), similarity[:used].copy()))
    return Pairs(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def similarities(sets: Shingles, left: Ints, right: Ints) -> Floats:
    """The exact Jaccard similarity of given pairs of documents."""
    found = np.empty(len(left), np.float64)
    _similarities(sets.bounds, sets.hashes, left, right, found)
    return found


def band_keys(hasher: MinHash, shingles: Shingles) -> tuple[Keys, npt.NDArray[np.bool_]]:
    """The keys of every document's bands, and which documents have a signature."""
    signatures = hasher(shingles)
    return hasher.band_keys(signatures), ~(signatures == NONE).all(axis=1)


def share_a_band(keys: Keys, left: Ints, right: Ints) -> npt.NDArray[np.bool_]:
    found = np.zeros(len(left), np.bool_)
    for band in range(keys.shape[1]):
        found |= keys[left, band] == keys[right, band]
    return found


def chance(similarity: Floats, hasher: MinHash) -> Floats:
    """The probability that two documents share a band."""
    return np.asarray(1 - (1 - similarity**hasher.rows) ** hasher.buckets, np.float64)


def components(keys: Keys, signed: npt.NDArray[np.bool_]) -> Ints:
    """The first document of the cluster of every document: connected components over documents that share a band."""
    parents = np.arange(len(keys), dtype=np.int64)
    rows = np.flatnonzero(signed)
    for band in range(keys.shape[1]):
        order = rows[np.argsort(keys[rows, band], kind="stable")]
        _unite(order, keys[:, band], parents)
    return parents


def differing(one: Ints, two: Ints) -> Ints:
    """The documents whose cluster does not have the same members in two partitions, given by any labels."""
    first, second = _by_first(one), _by_first(two)
    apart = first != second
    # A cluster that lost its first document to another differs in members that still agree on their first document.
    bad = np.unique(np.concatenate([first[apart], second[apart]]))
    return np.flatnonzero(apart | np.isin(first, bad) | np.isin(second, bad))


def _by_first(labels: Ints) -> Ints:
    """Labels replaced by the first row that has them."""
    _, firsts, inverse = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(firsts[inverse], np.int64)


def _batches(texts: pa.ChunkedArray) -> Iterable[pa.Array]:
    for start in range(0, len(texts), MAX_BATCH_ROWS):
        yield pa.concat_arrays(texts.slice(start, MAX_BATCH_ROWS).chunks).cast(pa.large_string())


def _joined(parts: Iterable[Shingles]) -> Shingles:
    found = list(parts)
    sizes = np.concatenate([np.diff(part.bounds) for part in found])
    bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Shingles(bounds, np.concatenate([p.hashes for p in found]), np.concatenate([p.short for p in found]))


def _as_sets(shingles: Shingles) -> Shingles:
    hashes, bounds = shingles.hashes.copy(), np.zeros_like(shingles.bounds)
    used = _sort_and_repeat_none(shingles.bounds, hashes, bounds)
    return Shingles(bounds, hashes[:used].copy(), shingles.short)


def _runs(ordered: Keys) -> Ints:
    """Where each run of equal values begins, and the end of the last."""
    return np.concatenate([[0], np.flatnonzero(np.diff(ordered)) + 1, [len(ordered)]]).astype(np.int64)


@njit(cache=True)
def _sort_and_repeat_none(given, hashes, bounds):  # type: ignore[no-untyped-def]
    used = 0
    for row in range(len(given) - 1):
        some = np.sort(hashes[given[row] : given[row + 1]])
        for i in range(len(some)):
            if i == 0 or some[i] != some[i - 1]:
                hashes[used] = some[i]
                used += 1
        bounds[row + 1] = used
    return used


@njit(cache=True)
def _pairs(row, bounds, sizes, numbers, groups, owners, least, shared, left, right, similarity, capacity):  # type: ignore[no-untyped-def]
    """The pairs of documents from `row` on with earlier ones, until `capacity` is reached: the next row, pairs found.

    `owners` of the shingles groups[g] .. groups[g + 1] are the documents that have shingle g, in order.
    """
    used = 0
    touched = np.empty(len(sizes), np.int64)
    while row < len(sizes) and used < capacity:
        count = 0
        for i in range(bounds[row], bounds[row + 1]):
            place = groups[numbers[i]]
            while owners[place] < row:
                other = owners[place]
                if not shared[other]:
                    touched[count] = other
                    count += 1
                shared[other] += 1
                place += 1
        for other in np.sort(touched[:count]):
            common = shared[other]
            shared[other] = 0
            value = common / (sizes[row] + sizes[other] - common)
            if value >= least:
                left[used], right[used], similarity[used] = other, row, value
                used += 1
        row += 1
    return row, used


@njit(cache=True)
def _similarities(bounds, hashes, left, right, found):  # type: ignore[no-untyped-def]
    for i in range(len(left)):
        one, two = left[i], right[i]
        found[i] = jaccard(hashes[bounds[one] : bounds[one + 1]], hashes[bounds[two] : bounds[two + 1]])


@njit(cache=True)
def _root(parents, row):  # type: ignore[no-untyped-def]
    while parents[row] != row:
        parents[row] = parents[parents[row]]
        row = parents[row]
    return row


@njit(cache=True)
def _unite(order, keys, parents):  # type: ignore[no-untyped-def]
    """Join neighbours in `order` that have equal keys. On return every parent is the first of its component."""
    for i in range(1, len(order)):
        if keys[order[i]] == keys[order[i - 1]]:
            one, two = _root(parents, order[i - 1]), _root(parents, order[i])
            parents[max(one, two)] = min(one, two)
    for row in range(len(parents)):
        parents[row] = _root(parents, row)
