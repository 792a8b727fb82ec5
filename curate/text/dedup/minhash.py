"""MinHash signatures of shingles, the keys of their bands, and how similar two documents are.

A signature has `buckets` x `rows` values. Each is the least that one permutation makes of a document's shingles; two documents
agree in it with a probability of their Jaccard similarity s, and so in one band of `rows` with s**rows.

- `ours`: (x * a + b) mod 2**w, a odd, for values of w = 32 or 64 bits: see below.
- `datatrove-0.10`: ((x * a + b) mod 2**64) mod (2**61 - 1), where the overflow leaves no field, but bit for bit that peer's.

Decisions. A shingle's hash x is as good as random, so any bijection of x permutes the shingles fairly: x * a + b modulo a power
of two, with a odd, is one, and rows differ by random a and b. This is what the tests measure (agreement, bands, pairs of rows).
Ours takes the upper half of x and works modulo 2**32: eight lanes where 64 bits have four, and no 64-bit products, which most
machines lack. The price is that two shingles share a value with probability 2**-32, and an estimate of two documents of n
shingles in all is too high by up to n / 2**32: 0.0002 for a million words; `hash_bits: 64` does not have it. Multiplication
modulo 2**61 - 1 has 128-bit products, for which there are no lanes. One-permutation hashing makes rows of short texts depend
on each other.

What is kept of a signature to tell later how similar two documents are is a byte per value (b-bit minwise hashing, Li and
König 2010, arXiv:0910.3349): two that differ share it once in 256 times, which `estimate` takes into account.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
from numba import njit

from curate.text.dedup.shingles import Shingles
from curate.text.unicode.hashing import LAST, SEED, STEP, fold_product

Family = Literal["ours", "datatrove-0.10"]

MERSENNE = np.uint64(2**61 - 1)
GOLDEN = 0x9E3779B97F4A7C15
HALF = np.uint64(32)
NONE = np.uint64(2**64 - 1)
"""The values of a document without shingles."""


@dataclass(frozen=True, kw_only=True)
class MinHash:
    """Makes signatures. The permutations depend on family, seed and their number alone."""

    buckets: int = 14
    rows: int = 8
    seed: int = 1
    family: Family = "ours"
    hash_bits: Literal[32, 64] = 32
    """Width of a value; datatrove's have 61 bits, whatever this says."""

    def __post_init__(self) -> None:
        for name in ("buckets", "rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} ({getattr(self, name)}) must be at least 1")

    @cached_property
    def permutations(self) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
        """Factors and terms. Ours are splitmix64's from `seed`, in turn; datatrove's those of numpy's `RandomState`."""
        count = self.buckets * self.rows
        if self.family == "datatrove-0.10":
            draw = np.random.RandomState(self.seed)
            factors = draw.randint(1, int(MERSENNE), dtype=np.uint64, size=count)
            return factors, draw.randint(0, int(MERSENNE), dtype=np.uint64, size=count)
        drawn = splitmix64(self.seed, 2 * count) >> np.uint64(64 - self.hash_bits)
        return drawn[::2] | np.uint64(1), drawn[1::2].copy()

    def __call__(self, shingles: Shingles) -> npt.NDArray[np.uint64]:
        """Signatures, shape (documents, buckets * rows); NONE throughout where a document has no shingle."""
        factors, terms = self.permutations
        if self.family == "datatrove-0.10":
            signatures = np.empty((len(shingles), len(factors)), np.uint64)
            _least_datatrove(shingles.bounds, shingles.hashes, factors, terms, signatures)
            return signatures
        kind = np.uint32 if self.hash_bits == 32 else np.uint64
        hashes = (shingles.hashes >> np.uint64(64 - self.hash_bits)).astype(kind)
        least = np.empty((len(shingles), len(factors)), kind)
        _least(shingles.bounds, hashes, factors.astype(kind), terms.astype(kind), least)
        signatures = least.astype(np.uint64)
        signatures[np.diff(shingles.bounds) == 0] = NONE
        return signatures

    def band_keys(self, signatures: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        """A 64-bit hash of the rows of every band, shape (documents, buckets). The same rows in two bands differ."""
        keys = np.empty((len(signatures), self.buckets), np.uint64)
        _band_keys(signatures, self.rows, keys)
        return keys


def splitmix64(seed: int, count: int) -> npt.NDArray[np.uint64]:
    """The first numbers of the generator splitmix64 (Steele, Lea and Flood 2014)."""
    value = np.uint64(seed % 2**64) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    value = (value ^ value >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ value >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return value ^ value >> np.uint64(31)


def signature_bytes(signatures: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """A byte of every value, which takes all its bits into account. Same shape."""
    return np.asarray((signatures * np.uint64(GOLDEN)) >> np.uint64(56), np.uint8)


def estimate(left: npt.NDArray[np.uint8], right: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """How similar documents are by the bytes of their signatures, along the last axis.

    The standard error is about sqrt(s * (1 - s) / values).
    """
    agree = (left == right).mean(axis=-1)
    return np.asarray(np.maximum((agree - 1 / 256) / (1 - 1 / 256), 0.0), np.float64)


@njit(nogil=True, cache=True)
def jaccard(left, right):  # type: ignore[no-untyped-def]
    """The Jaccard similarity of two sorted arrays without repetition; 0 where both are empty."""
    i = j = common = 0
    while i < len(left) and j < len(right):
        one, two = left[i], right[j]
        common += one == two
        i += one <= two
        j += two <= one
    union = len(left) + len(right) - common
    return common / union if union else 0.0


@njit(nogil=True, cache=True)
def _least(bounds, hashes, factors, terms, signatures):  # type: ignore[no-untyped-def]
    """Four shingles at a time for each load and store of the minima; the last ones are taken again to make up four."""
    count, number = len(factors), signatures.dtype.type
    for row in range(len(signatures)):
        least = signatures[row]
        least[:] = number(NONE)
        i, last = bounds[row], bounds[row + 1] - 1
        while i <= last:
            one, two = hashes[i], hashes[min(i + 1, last)]
            three, four = hashes[min(i + 2, last)], hashes[min(i + 3, last)]
            for k in range(count):
                factor, term = factors[k], terms[k]
                low = min(number(one * factor + term), number(two * factor + term))
                high = min(number(three * factor + term), number(four * factor + term))
                least[k] = min(least[k], min(low, high))
            i += 4


@njit(nogil=True, cache=True)
def _least_datatrove(bounds, hashes, factors, terms, signatures):  # type: ignore[no-untyped-def]
    """The remainder by 2**61 - 1 is the sum of the upper and lower bits, less that number once if that leaves it positive:
    the lesser of both, as unsigned numbers."""
    for row in range(len(signatures)):
        least = signatures[row]
        least[:] = NONE
        for i in range(bounds[row], bounds[row + 1]):
            x = hashes[i]
            for k in range(len(factors)):
                value = x * factors[k] + terms[k]
                value = (value & MERSENNE) + (value >> np.uint64(61))
                least[k] = min(least[k], min(value, value - MERSENNE))


@njit(nogil=True, cache=True)
def _band_keys(signatures, rows, keys):  # type: ignore[no-untyped-def]
    for row in range(len(keys)):
        for band in range(keys.shape[1]):
            value = SEED ^ np.uint64(band)
            for k in range(band * rows, (band + 1) * rows):
                value = fold_product(value ^ signatures[row, k], STEP)
            keys[row, band] = fold_product(value ^ STEP, LAST)
