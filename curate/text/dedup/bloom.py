"""A Bloom filter (Bloom 1970) over 64-bit hashes: what was inserted is always found, and little else.

Bits are any multiple of 64. Probe j of a hash stands at bit (h + (j + 1) * g) scaled to the number of bits, where h and g, odd,
are two mixes of the hash: the upper 64 bits of the product with that number, so that every bit is as likely as any other
(a bitwise `and` with a size that is no power of two leaves most bits unused). Same hashes in the same order, same bytes.

The rate of false positives of a filter is (1 - exp(-k * n / m))**k, for m bits, k probes and n different hashes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from numba import njit

from curate.text.unicode.hashing import LAST, SEED, STEP, fold_product, upper_product

MAGIC = b"bloom64\x01"
HEADER = 24
LOW_SIX, SIX = np.uint64(63), np.uint64(6)
Hashes = npt.NDArray[np.uint64]


def probes_for(rate: float) -> int:
    """Probes of each hash with which a filter of this rate of false positives is smallest."""
    return max(1, round(-math.log2(rate)))


def words_for(expected: int, rate: float) -> int:
    """64-bit words of a filter with this rate after so many different hashes."""
    probes = probes_for(rate)
    return math.ceil(-probes * expected / math.log1p(-(rate ** (1 / probes))) / 64)


@dataclass(frozen=True)
class BloomFilter:
    """Bits in 64-bit words, which inserts change in place, and how many probes each hash makes."""

    words: npt.NDArray[np.uint64]
    probes: int

    def __post_init__(self) -> None:
        if not len(self.words):
            raise ValueError("a Bloom filter needs at least 64 bits")
        if self.probes < 1:
            raise ValueError(f"probes ({self.probes}) must be at least 1")

    @classmethod
    def sized(cls, expected: int, rate: float) -> BloomFilter:
        """An empty filter whose rate of false positives is at most `rate` after `expected` different hashes."""
        if expected < 1 or not 0 < rate < 1:
            raise ValueError(f"expected ({expected}) must be at least 1 and rate ({rate}) between 0 and 1")
        return cls(np.zeros(words_for(expected, rate), np.uint64), probes_for(rate))

    @classmethod
    def load(cls, file: BinaryIO) -> BloomFilter:
        """The filter that `save` wrote. Raises ValueError for anything else."""
        header = file.read(HEADER)
        probes, size = (int.from_bytes(header[at : at + 8], "little") for at in (8, 16))
        whole = header[:8] == MAGIC and len(header) == HEADER
        words = np.empty(size if whole else 0, "<u8")
        filled = 0
        while whole and filled < words.nbytes:
            some = file.readinto(memoryview(words.view(np.uint8).data)[filled:])  # type: ignore[attr-defined]
            whole, filled = bool(some), filled + some
        if not whole or file.read(1):
            raise ValueError("this is no saved Bloom filter, or not all of one")
        return cls(words.astype(np.uint64, copy=False), probes)

    def save(self, file: BinaryIO) -> None:
        """A header (what this is, probes, number of words) and the words, little-endian."""
        file.write(MAGIC + self.probes.to_bytes(8, "little") + len(self.words).to_bytes(8, "little"))
        file.write(np.ascontiguousarray(self.words, "<u8").data)

    @property
    def bits(self) -> int:
        return 64 * len(self.words)

    def rate(self, inserted: int) -> float:
        """The expected rate of false positives after so many different hashes."""
        return float((-math.expm1(-self.probes * inserted / self.bits)) ** self.probes)

    def insert(self, hashes: Hashes) -> None:
        self.insert_and_test(hashes)

    def contains(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Whether each is in the filter. Shape (hashes,)."""
        found = np.empty(len(hashes), np.bool_)
        _contains(self.words, self.probes, hashes, found)
        return found

    def insert_and_test(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """One after the other: whether each was in the filter before it was inserted. Shape (hashes,)."""
        found = np.empty(len(hashes), np.bool_)
        _insert(self.words, self.probes, hashes, found)
        return found


@njit(inline="always")
def _mixes(key):  # type: ignore[no-untyped-def]
    """Where the probes of a hash start and how far they go each time."""
    return fold_product(key ^ SEED, STEP), fold_product(key ^ STEP, LAST) | np.uint64(1)


@njit(inline="always")
def is_in(words, probes, key):  # type: ignore[no-untyped-def]
    """Whether a hash is in the filter with these words."""
    bits = np.uint64(len(words)) << SIX
    at, step = _mixes(key)
    found = True
    for _ in range(probes):
        at += step
        bit = upper_product(at, bits)
        if not words[bit >> SIX] >> (bit & LOW_SIX) & np.uint64(1):
            found = False
            break
    return found


@njit(inline="always")
def put_in(words, probes, key):  # type: ignore[no-untyped-def]
    """Insert a hash; whether it was there before."""
    bits = np.uint64(len(words)) << SIX
    at, step = _mixes(key)
    every = np.uint64(1)
    for _ in range(probes):
        at += step
        bit = upper_product(at, bits)
        every &= words[bit >> SIX] >> (bit & LOW_SIX)
        words[bit >> SIX] |= np.uint64(1) << (bit & LOW_SIX)
    return every != 0


@njit(nogil=True, cache=True)
def _contains(words, probes, hashes, found):  # type: ignore[no-untyped-def]
    for i in range(len(hashes)):
        found[i] = is_in(words, probes, hashes[i])


@njit(nogil=True, cache=True)
def _insert(words, probes, hashes, found):  # type: ignore[no-untyped-def]
    for i in range(len(hashes)):
        found[i] = put_in(words, probes, hashes[i])
