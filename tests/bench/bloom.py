"""`python tests/bench/bloom.py`: stated and measured rates of false positives of half-full Bloom filters, 2^10 to 2^30 bits."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np

from curate.text.dedup.bloom import BloomFilter
from curate.text.dedup.minhash import splitmix64

FALSE_POSITIVES = 4000
"""So many are expected, which makes the statistical error 1.6 %."""
PART = 1 << 22


def measured_rate(words: int, probes: int) -> tuple[float, float]:
    """The rate a half-full filter states, and the one it has. Small filters are filled many times: one is a matter of luck."""
    fill = round(64 * words * math.log(2) / probes)
    stated = BloomFilter(np.zeros(words, np.uint64), probes).rate(fill)
    asked, repeats = math.ceil(FALSE_POSITIVES / stated), max(1, (1 << 20) // (64 * words))
    each, found = math.ceil(asked / repeats), 0
    for number in range(repeats):
        bloom = BloomFilter(np.zeros(words, np.uint64), probes)
        for start in range(0, fill, PART):
            bloom.insert(splitmix64(start * 0x9E3779B97F4A7C15 + 2 * number * 0xD1342543DE82EF95, min(PART, fill - start)))
        found += int(bloom.contains(splitmix64(0xABCDEF0123456789 * (number + 1) + 77, each)).sum())
    return stated, found / (each * repeats)


def table() -> Iterator[str]:
    yield f"{'bits':>6} {'probes':>6} {'stated':>9} {'measured':>9} {'ratio':>6}"
    for exponent in range(10, 31, 2):
        for probes in (1, 4, 7):
            stated, measured = measured_rate(2**exponent // 64, probes)
            yield f"  2^{exponent} {probes:6} {stated:9.6f} {measured:9.6f} {measured / stated:6.3f}"
    hashes = splitmix64(1, 10_000_000)
    for exponent in (20, 30):
        bloom = BloomFilter(np.zeros(2**exponent // 64, np.uint64), 7)
        bloom.insert_and_test(hashes[:10])
        started = time.perf_counter()
        bloom.insert_and_test(hashes)
        yield f"2^{exponent} bits, 7 probes: {len(hashes) / 1e6 / (time.perf_counter() - started):.1f} M inserts/s"


if __name__ == "__main__":
    for line in table():
        print(line, flush=True)
