"""Shingles are what the module says, in plain Python; datatrove's are bit for bit its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.text.dedup.clusters import distinct
from curate.text.dedup.normalize import simplify
from curate.text.dedup.shingles import Shingles, char_shingles, datatrove_shingles, token_shingles, word_shingles
from curate.text.unicode.buffers import text_buffers
from curate.text.unicode.hashing import LAST, SEED, STEP, hash_column, hash_of
from curate.text.words.cut import cut_words
from curate.text.words.types import Words
from tests.text.test_words import column, cut, spelled

MASK = 2**64 - 1
Rows = list[list[int]]


def rows_of(shingles: Shingles) -> Rows:
    hashes = shingles.hashes.tolist()
    return [hashes[a:b] for a, b in zip(shingles.bounds[:-1], shingles.bounds[1:], strict=True)]


def fold(one: int, two: int) -> int:
    product = one * two
    return product & MASK ^ product >> 64


def lower(char: str) -> str:
    return next((new for new in (char.casefold(), char.lower()) if len(new) == 1), char)


def plain_word_rows(words: Words, n: int) -> tuple[Rows, list[bool]]:
    rows, short = [], []
    for row in spelled(words):
        keys = [hash_of("".join(map(lower, word)).encode()) for word in row if any(map(str.isalnum, word))]
        rows.append([plain_gram(keys[i : i + n]) for i in range(max(1, len(keys) - n + 1))] if keys else [])
        short.append(len(keys) < n)
    return rows, short


def plain_gram(keys: list[int]) -> int:
    value = int(SEED) ^ len(keys)
    for key in keys:
        value = fold(value ^ key, int(STEP))
    return fold(value ^ int(STEP), int(LAST))


def plain_xxhash64(data: bytes) -> int:
    """XXH64 with seed 0, step by step from its specification."""
    p1, p2, p3, p4, p5 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5

    def turn(value: int, bits: int) -> int:
        return (value << bits | value >> (64 - bits)) & MASK

    def mix(lane: int, word: int) -> int:
        return turn((lane + word * p2) & MASK, 31) * p1 & MASK

    at, value = 0, p5
    if len(data) >= 32:
        lanes = [(p1 + p2) & MASK, p2, 0, -p1 & MASK]
        while at + 32 <= len(data):
            lanes = [mix(lane, int.from_bytes(data[at + 8 * k : at + 8 * k + 8], "little")) for k, lane in enumerate(lanes)]
            at += 32
        value = sum(turn(lane, bits) for lane, bits in zip(lanes, (1, 7, 12, 18), strict=True)) & MASK
        for lane in lanes:
            value = ((value ^ mix(0, lane)) * p1 + p4) & MASK
    value = (value + len(data)) & MASK
    while at + 8 <= len(data):
        value = (turn(value ^ mix(0, int.from_bytes(data[at : at + 8], "little")), 27) * p1 + p4) & MASK
        at += 8
    if at + 4 <= len(data):
        value = (turn(value ^ int.from_bytes(data[at : at + 4], "little") * p1 & MASK, 23) * p2 + p3) & MASK
        at += 4
    for byte in data[at:]:
        value = turn(value ^ byte * p5 & MASK, 11) * p1 & MASK
    value = (value ^ value >> 33) * p2 & MASK
    value = (value ^ value >> 29) * p3 & MASK
    return value ^ value >> 32


def sha1_64(data: bytes) -> int:
    return int.from_bytes(hashlib.sha1(data).digest()[:8], "little")


def plain_datatrove_rows(words: Words, n: int, hashed: Callable[[bytes], int]) -> Rows:
    return [[hashed(" ".join(row[i : i + n]).encode()) for i in range(len(row) - n + 1)] for row in spelled(words)]


PIECES = st.lists(
    st.sampled_from(
        [*"aBz.,' \n-1é\u0301ΣσςİßẞKＡ中ſ😀\x00", " The ", " quick", " brown fox ", " UPPERCASELETTERS ", " naïveté "]
    )
).map("".join)
TEXTS = st.lists(st.one_of(st.none(), st.text(), PIECES), max_size=6)


@settings(max_examples=500)
@given(TEXTS, st.integers(1, 6))
def test_shingles_of_words_are_those_of_plain_python(texts: list[str | None], n: int) -> None:
    words = cut(texts, "uax29")
    shingles = word_shingles(words, n)
    assert (rows_of(shingles), shingles.short.tolist()) == plain_word_rows(words, n)


@settings(max_examples=500)
@given(TEXTS, st.integers(1, 30))
def test_shingles_of_characters_are_those_of_plain_python(texts: list[str | None], n: int) -> None:
    shingles = char_shingles(text_buffers(column(texts)), n)
    plain = [[text[i : i + n] for i in range(max(1, len(text) - n + 1))] if text else [] for text in texts]
    assert rows_of(shingles) == [[hash_of(gram.encode()) for gram in row] for row in plain]
    assert shingles.short.tolist() == [len(text or "") < n for text in texts]


@settings(max_examples=300)
@given(TEXTS, st.integers(1, 6))
def test_datatrove_shingles_are_those_of_plain_python(texts: list[str | None], n: int) -> None:
    words = cut(simplify(column(texts)), "spacy")
    for shingles, hashed in (
        (datatrove_shingles(words, n), plain_xxhash64),
        (datatrove_shingles(words, n, "sha1"), sha1_64),
    ):
        assert rows_of(shingles) == plain_datatrove_rows(words, n, hashed)
        assert shingles.short.tolist() == [len(row) < n for row in spelled(words)]


def test_the_plain_xxhash64_gives_published_values() -> None:
    assert [plain_xxhash64(data) for data in (b"", b"a", b"abc")] == [
        0xEF46DB3751D8E999,
        0xD24EC4F1A98C6E5B,
        0x44BC2CF5AD770999,
    ]


def test_shingles_recorded_from_datatrove() -> None:
    """datatrove 0.10.1, spaCy 3.8.18, of this text: the first two."""
    words = cut(simplify(column([SENTENCE])), "spacy")
    assert datatrove_shingles(words).hashes[:2].tolist() == RECORDED_XXHASH
    assert datatrove_shingles(words, kind="sha1").hashes[:2].tolist() == RECORDED_SHA1


SENTENCE = "The QUICK brown fox, aged 1,234.5, doesn't jump over the lazy dog's café."
RECORDED_XXHASH = [1011826756027247215, 16056653203796097274]
RECORDED_SHA1 = [5866754418644110765, 15231628684344031947]


@pytest.mark.parametrize("text", ["", "...", "one", "\u0301" * 9, "x" * 50_000, "É" * 50_000, "one two three four"])
def test_short_texts_have_at_most_one_shingle_and_say_so(text: str) -> None:
    words = cut(["a b c d e", text, None], "uax29")
    shingles = word_shingles(words, 5)
    assert shingles.short.tolist() == [False, True, True]
    assert (rows_of(shingles), shingles.short.tolist()) == plain_word_rows(words, 5)


def test_layout_signs_and_case_do_not_matter() -> None:
    one, two = rows_of(
        word_shingles(cut(["One, two; ΤΡΕΙΣ four -- five!\n\nSix", "one TWO τρεις «four» five... six"], "uax29"))
    )
    assert one == two and len(one) == 2


@given(TEXTS, st.integers(0, 6))
def test_batches_cut_anywhere_have_the_same_shingles(texts: list[str | None], at: int) -> None:
    def shingled(part: Sequence[str | None]) -> Rows:
        return rows_of(word_shingles(cut(part, "uax29"), 2))

    assert shingled(texts) == shingled(texts[:at]) + shingled(texts[at:])
    words = cut_words(text_buffers(pa.array(texts, pa.large_string())), "uax29")
    assert rows_of(word_shingles(words[slice(at, None)], 2)) == shingled(texts[at:])


@pytest.mark.parametrize("n", [0, -1])
def test_shingles_of_nothing_are_refused(n: int) -> None:
    with pytest.raises(ValueError, match=rf"ngram \({n}\) must be at least 1"):
        word_shingles(cut(["a"], "uax29"), n)


@given(st.lists(st.none() | st.text(max_size=60), max_size=5), st.integers(1, 5), st.integers(1, 5))
def test_token_shingles_are_all_words_as_they_stand(texts: list[str | None], n: int, least: int) -> None:
    words = cut(column(texts), "uax29")
    expected = []
    for row in spelled(words):
        keys = [hash_of("".join(word).encode()) for word in row]
        grams = len(keys) - n + 1 if len(keys) >= n else int(len(keys) >= least)
        expected.append([plain_gram(keys[i : i + n]) for i in range(grams)])
    assert rows_of(token_shingles(words, n, least)) == expected


@given(st.lists(st.none() | st.text(max_size=20), max_size=5))
def test_a_column_is_hashed_text_by_text(texts: list[str | None]) -> None:
    assert hash_column(column(texts)).tolist() == [hash_of((text or "").encode()) for text in texts]


@given(st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=8), max_size=4))
def test_distinct_hashes_are_sorted_upper_halves(given_rows: Rows) -> None:
    bounds = np.cumsum([0, *map(len, given_rows)])
    hashes = np.array([value for row in given_rows for value in row], np.uint64)
    sets, ends = np.zeros(len(hashes), np.uint32), np.zeros(len(given_rows), np.int64)
    distinct(bounds, hashes, sets, ends)
    found = [sets[start:end].tolist() for start, end in zip([0, *ends[:-1]], ends, strict=False)]
    assert found == [sorted({value >> 32 for value in row}) for row in given_rows]
