"""A Bloom filter (Bloom 1970) over 64-bit hashes: what was inserted is always found, and little else.

Bits are any multiple of 64. Probe j of a hash stands at bit (h + (j + 1) * g) scaled to the number of bits, where h and g, odd,
are two mixes of the hash: the upper 64 bits of the product with that number, so that every bit is as likely as any other
(a bitwise `and` with a size that is no power of two leaves most bits unused). Same hashes in the same order, same bytes.

The rate of false positives of a filter is (1 - exp(-k * n / m))**k, for m bits, k probes and n different hashes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from curate.text.hashing import LAST, SEED, STEP, fold_product, upper_product

MAGIC = b"bloom64\x01"
HEADER = 24
LOW_SIX, SIX = np.uint64(63), np.uint64(6)
Hashes = npt.NDArray[np.uint64]


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
        probes = max(1, round(-math.log2(rate)))
        bits = -probes * expected / math.log1p(-(rate ** (1 / probes)))
        return cls(np.zeros(math.ceil(bits / 64), np.uint64), probes)

    @classmethod
    def load(cls, data: bytes) -> BloomFilter:
        """The filter that `save` wrote. Raises ValueError for anything else."""
        probes, size = (int.from_bytes(data[at : at + 8], "little") for at in (8, 16))
        if data[:8] != MAGIC or len(data) != HEADER + 8 * size:
            raise ValueError(f"these {len(data)} bytes are no saved Bloom filter, or not all of one")
        return cls(np.frombuffer(data, "<u8", offset=HEADER).astype(np.uint64), probes)

    def save(self) -> bytes:
        """A header (what this is, probes, number of words) and the words, little-endian."""
        header = MAGIC + self.probes.to_bytes(8, "little") + len(self.words).to_bytes(8, "little")
        return header + self.words.astype("<u8").tobytes()

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


@njit(nogil=True, cache=True)
def _contains(words, probes, hashes, found):  # type: ignore[no-untyped-def]
    bits = np.uint64(len(words)) << SIX
    for i in range(len(hashes)):
        at, step = _mixes(hashes[i])
        found[i] = True
        for _ in range(probes):
            at += step
            bit = upper_product(at, bits)
            if not words[bit >> SIX] >> (bit & LOW_SIX) & np.uint64(1):
                found[i] = False
                break


@njit(nogil=True, cache=True)
def _insert(words, probes, hashes, found):  # type: ignore[no-untyped-def]
    bits = np.uint64(len(words)) << SIX
    for i in range(len(hashes)):
        at, step = _mixes(hashes[i])
        every = np.uint64(1)
        for _ in range(probes):
            at += step
            bit = upper_product(at, bits)
            every &= words[bit >> SIX] >> (bit & LOW_SIX)
            words[bit >> SIX] |= np.uint64(1) << (bit & LOW_SIX)
        found[i] = every != 0
