"""Signatures agree as often as documents are similar, in every row and independently; datatrove's are bit for bit its own."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.text.dedup.minhash import NONE, Family, MinHash, estimate, jaccard, signature_bytes, splitmix64
from curate.text.dedup.normalize import simplify
from curate.text.dedup.shingles import Shingles, datatrove_shingles
from tests.text.test_shingles import SENTENCE
from tests.text.test_words import column, cut

PAIRS, SIZE = 20_000, 100
FAMILIES: tuple[Family, ...] = ("ours", "datatrove-0.10")


def made(rows: list[list[int]]) -> Shingles:
    counts = [len(row) for row in rows]
    bounds = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Shingles(bounds, np.array([x for row in rows for x in row], np.uint64), np.array(counts) == 0)


def plain_signature(row: list[int], minhash: MinHash) -> list[int]:
    permutations = list(zip(*(numbers.tolist() for numbers in minhash.permutations), strict=True))
    if not row:
        return [int(NONE)] * len(permutations)
    if minhash.family == "ours":
        bits = minhash.hash_bits
        return [min(((x >> (64 - bits)) * a + b) % 2**bits for x in row) for a, b in permutations]
    return [min((x * a + b) % 2**64 % (2**61 - 1) for x in row) for a, b in permutations]


HASHES = st.one_of(st.integers(0, 2**64 - 1), st.sampled_from([0, 1, 2**61 - 2, 2**61 - 1, 2**61, 2**64 - 1]))


@pytest.mark.parametrize(("family", "bits"), [("ours", 32), ("ours", 64), ("datatrove-0.10", 64)])
@given(rows=st.lists(st.lists(HASHES, max_size=9), max_size=5), buckets=st.integers(1, 5), seed=st.integers(0, 2**32 - 1))
def test_signatures_are_those_of_plain_python(
    family: Family, bits: Literal[32, 64], rows: list[list[int]], buckets: int, seed: int
) -> None:
    minhash = MinHash(buckets=buckets, rows=3, seed=seed, family=family, hash_bits=bits)
    assert minhash(made(rows)).tolist() == [plain_signature(row, minhash) for row in rows]


def test_the_permutations_of_a_seed_are_these() -> None:
    """splitmix64's published first numbers from 1234567, and what follows from them."""
    assert splitmix64(1234567, 3).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]
    factors, terms = MinHash(buckets=1, rows=1, seed=1234567).permutations
    assert (factors.tolist(), terms.tolist()) == ([6457827717110365317 >> 32 | 1], [3203168211198807973 >> 32])


Signed = tuple[float, npt.NDArray[np.uint64], npt.NDArray[np.uint64]]


@pytest.fixture(scope="module", params=[0.1, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95])
def signed(request: pytest.FixtureRequest) -> Signed:
    """A similarity, and the signatures of PAIRS pairs of documents so similar. Shapes (pairs, 112)."""
    common = round(2 * SIZE * request.param / (1 + request.param))
    hashes = splitmix64(99, PAIRS * (2 * SIZE - common)).reshape(PAIRS, -1)
    minhash = MinHash()
    left, right = (
        minhash(Shingles(np.arange(PAIRS + 1) * SIZE, np.ascontiguousarray(half).ravel(), np.zeros(PAIRS, np.bool_)))
        for half in (hashes[:, :SIZE], hashes[:, -SIZE:])
    )
    return common / (2 * SIZE - common), left, right


@pytest.fixture(scope="module")
def pairs(signed: Signed) -> tuple[float, npt.NDArray[np.bool_]]:
    """A similarity, and where the signatures agree."""
    similarity, left, right = signed
    return similarity, left == right


def test_every_row_agrees_as_often_as_documents_are_similar(pairs: tuple[float, npt.NDArray[np.bool_]]) -> None:
    """112 rows: a deviation of 4.5 standard errors in one of them is one in 1,300."""
    similarity, agree = pairs
    error = math.sqrt(similarity * (1 - similarity) / PAIRS)
    assert np.abs(agree.mean(axis=0) - similarity).max() < 4.5 * error
    assert abs(agree.mean() - similarity) < 4 * error / math.sqrt(agree.shape[1])


def test_bands_of_eight_agree_as_independent_rows_would(pairs: tuple[float, npt.NDArray[np.bool_]]) -> None:
    similarity, agree = pairs
    rate = similarity**8
    bands = np.asarray(agree.reshape(PAIRS, 14, 8).all(axis=2))
    assert abs(bands.mean() - rate) < 4 * math.sqrt(rate * (1 - rate) / bands.size) + 1e-9
    found = 1 - (1 - rate) ** 14
    assert abs(bands.any(axis=1).mean() - found) < 4 * math.sqrt(found * (1 - found) / PAIRS) + 1e-9


def test_rows_agree_independently_two_by_two(pairs: tuple[float, npt.NDArray[np.bool_]]) -> None:
    """6,216 pairs of rows; a correlation of independent ones has a standard error of 1 / sqrt(PAIRS)."""
    correlations = np.asarray(np.corrcoef(pairs[1].T))[np.triu_indices(112, 1)]
    assert np.abs(correlations).max() < 5.5 / math.sqrt(PAIRS)
    assert abs(correlations.var() * PAIRS - 1) < 0.1


def test_estimates_by_bytes_are_as_exact_as_so_many_independent_rows(signed: Signed) -> None:
    """And right in the mean, though one in 256 bytes agrees by chance."""
    similarity, left, right = signed
    estimates = estimate(signature_bytes(left), signature_bytes(right))
    by_chance = similarity + (1 - similarity) / 256
    variance = by_chance * (1 - by_chance) / 112 / (1 - 1 / 256) ** 2
    assert abs(estimates.var() / variance - 1) < 0.06
    assert abs(estimates.mean() - similarity) < 4 * math.sqrt(variance / PAIRS)


def test_signatures_recorded_from_datatrove() -> None:
    """datatrove 0.10.1, spaCy 3.8.18: values 0, 1, 55 and 111, with xxhash64."""
    shingles = datatrove_shingles(cut(simplify(column([SENTENCE])), "spacy"))
    signature = MinHash(family="datatrove-0.10")(shingles)[0]
    assert signature[[0, 1, 55, 111]].tolist() == RECORDED


RECORDED = [176821820632243352, 169078779989146631, 72299279269014349, 89593463801079076]


@pytest.mark.parametrize("family", FAMILIES)
def test_band_keys_agree_where_all_rows_of_a_band_do(family: Family) -> None:
    minhash = MinHash(buckets=3, rows=4, family=family)
    one = minhash(made([[1 << 40, 2 << 50, 3]]))[0]
    two, three = one.copy(), np.tile(one[:4], 3)
    two[5] ^= np.uint64(1)
    keys = minhash.band_keys(np.stack([one, two, three]))
    assert (keys[0] == keys[1]).tolist() == [True, False, True]
    assert len(set(keys[2].tolist())) == 3


@given(st.sets(HASHES), st.sets(HASHES), st.sets(HASHES))
def test_jaccard_is_that_of_sets(left: set[int], right: set[int], both: set[int]) -> None:
    one, two = left | both, right | both
    arrays = (np.array(sorted(each), np.uint64) for each in (one, two))
    assert jaccard(*arrays) == (len(one & two) / len(one | two) if one | two else 0.0)


def test_an_estimate_lies_between_nothing_and_all() -> None:
    left, right = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.uint8), np.array([1, 2, 3, 4], np.uint8)
    assert estimate(left, right).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("option", ["buckets", "rows"])
def test_no_values_are_refused(option: str) -> None:
    with pytest.raises(ValueError, match=rf"{option} \(0\) must be at least 1"):
        MinHash(buckets=0 if option == "buckets" else 1, rows=0 if option == "rows" else 1)
