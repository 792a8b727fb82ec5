"""A Bloom filter forgets nothing, takes no more for known than its theory says, and is saved as it is."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.text.dedup.bloom import BloomFilter
from curate.text.dedup.minhash import splitmix64
from tests.bench.bloom import measured_rate

SIZES = [(exponent, probes) for exponent in range(10, 23, 2) for probes in (1, 4, 7)]
LARGE = [pytest.param(exponent, probes, marks=pytest.mark.slow) for exponent in (26, 30) for probes in (1, 4, 7)]
HASHES = st.lists(st.integers(0, 2**64 - 1), max_size=50)


def saved(bloom: BloomFilter) -> bytes:
    file = io.BytesIO()
    bloom.save(file)
    return file.getvalue()


def empty(words: int = 9, probes: int = 5) -> BloomFilter:
    return BloomFilter(np.zeros(words, np.uint64), probes)


@pytest.mark.parametrize(("exponent", "probes"), [*SIZES, *LARGE])
def test_the_rate_of_false_positives_is_the_stated_one(exponent: int, probes: int) -> None:
    """Half full, whatever the size: powers of two, where a bitwise `and` with the size would use two bits."""
    stated, measured = measured_rate(2**exponent // 64, probes)
    assert abs(measured / stated - 1) < 0.1


@pytest.mark.parametrize("words", [17, 1000, 12_345])
def test_sizes_that_are_no_power_of_two_keep_the_rate(words: int) -> None:
    stated, measured = measured_rate(words, 5)
    assert abs(measured / stated - 1) < 0.1


@pytest.mark.parametrize(("expected", "rate"), [(1000, 0.01), (100_000, 0.001), (10_000, 0.3)])
def test_a_sized_filter_has_the_rate_it_was_sized_for(expected: int, rate: float) -> None:
    bloom = BloomFilter.sized(expected, rate)
    assert 0.9 * rate < bloom.rate(expected) <= rate
    bits_per_hash = -math.log(rate) / math.log(2) ** 2
    assert bloom.bits < 1.1 * bits_per_hash * expected + 64
    bloom.insert(splitmix64(1, expected))
    found = bloom.contains(splitmix64(2, 500_000)).mean()
    assert abs(found - rate) < 0.1 * rate + 4 * math.sqrt(rate / 500_000)


@given(HASHES, HASHES)
def test_nothing_inserted_is_missed(inserted: list[int], others: list[int]) -> None:
    bloom = empty()
    bloom.insert(np.array(inserted, np.uint64))
    assert bloom.contains(np.array(inserted, np.uint64)).all()
    again = empty()
    again.insert(np.array([*others, *inserted], np.uint64))
    assert again.contains(np.array(inserted, np.uint64)).all()


@given(HASHES, st.integers(0, 50))
def test_insert_and_test_is_one_after_the_other_in_any_batches(hashes: list[int], at: int) -> None:
    whole, parts, single = empty(), empty(), empty()
    array = np.array(hashes, np.uint64)
    found = whole.insert_and_test(array).tolist()
    assert found == [*parts.insert_and_test(array[:at]), *parts.insert_and_test(array[at:])]
    for key, answer in zip(array, found, strict=True):
        assert single.contains(np.array([key], np.uint64)).tolist() == [answer]
        single.insert(np.array([key], np.uint64))
    assert saved(whole) == saved(parts) == saved(single)


@given(HASHES, st.integers(1, 9), st.integers(1, 9))
def test_a_saved_filter_is_loaded_as_it_was_and_can_go_on(hashes: list[int], words: int, probes: int) -> None:
    bloom = empty(words, probes)
    bloom.insert(np.array(hashes, np.uint64))
    loaded = BloomFilter.load(io.BytesIO(saved(bloom)))
    assert saved(loaded) == saved(bloom) and loaded.probes == probes
    more = np.arange(10, dtype=np.uint64)
    assert loaded.insert_and_test(more).tolist() == bloom.insert_and_test(more).tolist()


@pytest.mark.parametrize("data", [b"", b"other", saved(empty())[:-1], saved(empty()) + b"x", b"x" + saved(empty())[1:]])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no saved Bloom filter, or not all of one"):
        BloomFilter.load(io.BytesIO(data))


def test_filters_without_bits_probes_or_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 64 bits"):
        empty(0)
    with pytest.raises(ValueError, match=r"probes \(0\) must be at least 1"):
        empty(1, 0)
    with pytest.raises(ValueError, match=r"expected \(10\) must be at least 1 and rate \(1.0\) between 0 and 1"):
        BloomFilter.sized(10, 1.0)
