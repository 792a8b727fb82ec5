"""Overlaps agree with sets of tuples of words, folded as `fold` says, on any text."""

import sys
import unicodedata
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.text.dedup.ngram_overlap import NgramIndex, fold, fold_words, folded_chars, index_passages
from curate.text.unicode.buffers import text_buffers
from curate.text.words.cut import cut_words
from curate.text.words.types import ALNUM, Words

Found = dict[tuple[int, int], float]
Places = list[tuple[int, int, int]]


def cut(texts: Sequence[str | None]) -> Words:
    return cut_words(text_buffers(pa.array(texts, pa.large_string())), "uax29")


def plain_words(words: Words) -> list[list[tuple[int, str]]]:
    """Of every row the words that count: place, and letters and digits."""
    rows = []
    for first, last in zip(words.firsts, words.lasts, strict=True):
        spelled = [(w, bytes(words.stream[words.starts[w] : words.starts[w + 1]]).decode()) for w in range(first, last)]
        rows.append([(w, "".join(map(fold, word))) for w, word in spelled if any(map(str.isalnum, word))])
    return rows


def runs(words: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]


def plain_overlaps(
    passages: Sequence[str | None], texts: Sequence[str | None], n: int, least: int, min_share: float
) -> tuple[Found, Places]:
    """The definition, word for word: (row, passage) -> share, and row, first and last word of what was found."""
    wanted = []
    for row in plain_words(cut(passages)):
        words = [word for _, word in row]
        wanted.append(set() if len(words) < least else set(runs(words, min(n, len(words)))))
    found: Found = {}
    places = set()
    for number, row in enumerate(plain_words(cut(texts))):
        words = [word for _, word in row]
        for passage, grams in enumerate(wanted):
            hits = [
                (size, i) for size in {len(gram) for gram in grams} for i, gram in enumerate(runs(words, size)) if gram in grams
            ]
            share = len({runs(words, size)[i] for size, i in hits}) / max(len(grams), 1)
            if hits and share >= min_share:
                found[number, passage] = share
                places |= {(number, row[i][0], row[i + size - 1][0]) for size, i in hits}
    return found, sorted(places)


def overlaps(index: NgramIndex, words: Words, min_share: float = 0.0) -> tuple[Found, Places]:
    found = index.overlaps(words, min_share)
    hits = found.hits
    pairs = zip(found.rows.tolist(), found.passages.tolist(), strict=True)
    places = zip(hits.rows.tolist(), hits.starts.tolist(), hits.ends.tolist(), strict=True)
    return dict(zip(pairs, found.shares.tolist(), strict=True)), sorted(places)


WORDS = [
    "a",
    "b",
    "A",
    "á",
    "a\u0301",
    "it's",
    "IT’S",
    "its",
    "İ",
    "ﬁ",
    "fi",
    "ß",
    "SS",
    "中",
    "한",
    "१",
    "--",
    "“",
    "\n",
    "3.14",
    "314",
]
TELLING = st.lists(st.sampled_from(WORDS), max_size=25).map(" ".join)
TEXTS = st.lists(st.one_of(st.none(), TELLING, TELLING, st.text(max_size=30)), max_size=6)


@settings(max_examples=400)
@given(TEXTS, TEXTS, st.integers(1, 6), st.integers(1, 8), st.sampled_from([0.0, 0.4, 0.7, 1.0]))
def test_overlaps_are_those_of_sets(
    passages: list[str | None], texts: list[str | None], n: int, least: int, min_share: float
) -> None:
    index = index_passages(cut(passages), n, least)
    assert overlaps(index, cut(texts), min_share) == plain_overlaps(passages, texts, n, least, min_share)


@settings(max_examples=100)
@given(TEXTS, TEXTS, st.data())
def test_some_of_the_rows_overlap_as_they_do_among_all(
    passages: list[str | None], texts: list[str | None], data: st.DataObject
) -> None:
    index = index_passages(cut(passages), 3, 2)
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(texts), max_size=len(texts))), np.bool_)
    all_of, _ = overlaps(index, cut(texts))
    some, _ = overlaps(index, cut(texts)[keep])
    number = {row: place for place, row in enumerate(np.flatnonzero(keep).tolist())}
    assert some == {(number[row], passage): share for (row, passage), share in all_of.items() if keep[row]}


@pytest.mark.slow
def test_every_letter_and_digit_is_folded_as_fold_says() -> None:
    """Alone, and not fused with what stands before it: a word hashes as its folded form does."""
    chars = [chr(code) for code in range(sys.maxunicode + 1) if chr(code).isalnum()]
    words = cut(chars)
    assert words.counts.tolist() == [1] * len(chars)
    plain = ["".join(map(fold, char)) for char in chars]
    table, _ = folded_chars()
    assert [char for char, letters in zip(chars, plain, strict=True) if bool(table[ord(char)]) != bool(letters)] == []
    lasting = [(char, letters) for char, letters in zip(chars, plain, strict=True) if cut([letters]).counts.tolist() == [1]]
    before = fold_words(cut([char for char, _ in lasting])).hashes
    after = fold_words(cut([letters for _, letters in lasting])).hashes
    assert [pair for pair, same in zip(lasting, before == after, strict=True) if not same] == []
    assert len(lasting) > 130_000


def test_composed_and_decomposed_letters_are_one() -> None:
    chars = [chr(code) for code in range(sys.maxunicode + 1) if chr(code).isalpha()]
    assert [char for char in chars if "".join(map(fold, unicodedata.normalize("NFD", char))) != fold(char)] == []


def test_what_is_folded_stays_as_it_is() -> None:
    folded = {fold(chr(code)) for code in range(sys.maxunicode + 1)}
    assert [form for form in folded if "".join(map(fold, form)) != form] == []


@pytest.mark.parametrize(
    "same",
    [["don't", "don’t", "DON‘T", "dont"], ["Café", "cafe", "CAFE\u0301", "ｃａｆé"], ["straße", "STRASSE"], ["1,000", "1000"]],
)
def test_words_that_are_one(same: list[str]) -> None:
    assert len(set(fold_words(cut(same)).hashes.tolist())) == 1


def test_passages_that_begin_with_one_another_are_all_found() -> None:
    """All shorter than n: each is one run of its own length."""
    words = ["one", "two", "three", "four", "five", "six", "seven"]
    passages = [" ".join(words[:size]) for size in range(1, 8)]
    index = index_passages(cut(passages), 10, 3)
    found, _ = overlaps(index, cut([" ".join(words), " ".join(words[:5]), " ".join(words[1:])]))
    assert found == {(0, 2): 1, (0, 3): 1, (0, 4): 1, (0, 5): 1, (0, 6): 1, (1, 2): 1, (1, 3): 1, (1, 4): 1}


def test_a_passage_that_repeats_itself_is_there_when_its_distinct_runs_are() -> None:
    index = index_passages(cut(["a b a b a b a b c"]), 2, 2)
    assert overlaps(index, cut(["a b a", "b c"])) == ({(0, 0): 2 / 3, (1, 0): 1 / 3}, [(0, 0, 1), (0, 1, 2), (1, 3, 4)])


def test_a_run_that_a_thousand_passages_have_is_found_in_all() -> None:
    index = index_passages(cut([f"read this text and answer {number}" for number in range(1000)]), 5, 5)
    found, places = overlaps(index, cut(["nothing", "Read this text and answer!"]))
    assert found == {(1, number): 0.5 for number in range(1000)}
    assert places == [(1, 1, 5)]


def test_more_hits_than_there_is_room_for_at_first_are_all_found() -> None:
    text = " ".join(map(str, range(20_000)))
    found, places = overlaps(index_passages(cut([text]), 13, 8), cut([None, text, "0 1 2"]))
    assert found == {(1, 0): 1.0}
    assert len(places) == 20_000 - 12


@pytest.mark.parametrize("n", [1, 13])
def test_without_passages_or_texts_nothing_is_found(n: int) -> None:
    for passages in ([], [None, "", "..."]):
        assert overlaps(index_passages(cut(passages), n, 1), cut(["a b c", None])) == ({}, [])
    assert overlaps(index_passages(cut(["a b c"]), n, 1), cut([])) == ({}, [])
    assert overlaps(index_passages(cut(["a b c"]), n, 1), cut([None, "", " \n", "-"])) == ({}, [])


@pytest.mark.parametrize(
    "text", ["a" * 3_000_000, "ﷺ" * 300_000, "a " * 500_000, "\u0301" * 100_000], ids=lambda text: text[:2]
)
def test_hostile_texts_overlap_as_sets_do(text: str) -> None:
    passages = ["a " * 13, "b " * 13, "ﷺ" * 300_000]
    expected = {(1, 0): 1.0} if text.startswith("a ") else {(1, 2): 1.0} if text[0] == "ﷺ" else {}
    assert overlaps(index_passages(cut(passages), 13, 1), cut(["b", text, "b"]))[0] == expected


def test_malformed_utf8_reads_nothing_outside_its_word() -> None:
    noise = np.random.default_rng(0).integers(128, 256, 4096, np.uint8)
    starts = np.arange(0, 4097, 4, dtype=np.int32)
    rows = np.arange(1025)
    kinds = np.full(1024, ALNUM, np.uint8)

    def words(stream: np.ndarray) -> Words:
        return Words(rows[:-1], rows[1:], stream, starts, starts, kinds.astype(np.uint64), kinds)

    other = noise.copy()
    other[4:] = 255
    assert fold_words(words(noise)).hashes[0] == fold_words(words(other)).hashes[0]
    assert (
        fold_words(words(np.frombuffer(noise.tobytes(), np.uint8))).hashes.tolist() == fold_words(words(noise)).hashes.tolist()
    )
