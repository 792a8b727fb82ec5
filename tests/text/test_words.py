"""What `Words` promises holds for every word unit, and the unit `whitespace` is `str.split`."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from curate.text.unicode.buffers import TextBuffers, text_buffers
from curate.text.unicode.hashing import hash_bytes
from curate.text.words.cut import cut_words
from curate.text.words.punctuation import PUNCTUATION, SENTENCE_ENDS, TERMINAL_PUNCTUATION
from curate.text.words.types import ALNUM, ALPHA, FIRST_ALNUM, GAP, PERIOD, PUNCT, SOLID, Words, WordUnit
from tests.text.make_word_break import CHARS, PLAIN

UNITS: tuple[WordUnit, ...] = ("whitespace", "uax29", "spacy")
SIGNS, ENDS = frozenset(PUNCTUATION), frozenset(SENTENCE_ENDS)
EVERY_CHAR = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]

TELLING = st.lists(st.sampled_from([*CHARS, *" .\x1c\x85\u202f", "the", "The", "of", "nine char", "seventeen letters"])).map(
    "".join
)
TEXTS = st.lists(st.one_of(st.none(), st.text(), TELLING), max_size=8)


def column(texts: Sequence[str | None]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def cut(texts: Sequence[str | None] | pa.Array, unit: WordUnit) -> Words:
    return cut_words(text_buffers(texts if isinstance(texts, pa.Array) else column(texts)), unit)


def spelled(words: Words) -> list[list[str]]:
    """The words of every row as strings."""
    stream = words.stream.tobytes()
    pieces = [stream[start:end].decode() for start, end in zip(words.starts, words.starts[1:], strict=False)]
    return [pieces[first:last] for first, last in zip(words.firsts, words.lasts, strict=True)]


def plain_kinds(word: str, signs: frozenset[str] = SIGNS, ends: frozenset[str] = ENDS) -> int:
    """The definitions, word for word."""
    kinds = ALPHA * any(map(str.isalpha, word)) | ALNUM * any(map(str.isalnum, word)) | FIRST_ALNUM * word[0].isalnum()
    kinds |= SOLID * (not signs.issuperset(word))
    kinds |= PUNCT * all(unicodedata.category(char).startswith("P") for char in word)
    return kinds | PERIOD * (word in ends)


def check(texts: Sequence[str | None], words: Words) -> None:
    """Every promise that does not depend on where words are cut."""
    rows = spelled(words)
    assert [kind.dtype for kind in (words.firsts, words.lasts, words.starts, words.chars)] == [np.int64] * 2 + [np.int32] * 2
    assert ["".join(row) for row in rows] == ["".join((text or "").split()) for text in texts]
    flat = [word for row in rows for word in row]
    assert all(flat)
    assert len(words) == len(texts) and len(words.starts) == len(words.chars) == len(words.hashes) + 1 == len(words.kinds) + 1
    order = np.concatenate([np.zeros(0, np.int64), *(np.arange(*ends) for ends in zip(words.firsts, words.lasts, strict=True))])
    assert words.starts[-1] == len(words.stream)
    assert words.counts.tolist() == [len(row) for row in rows]
    assert np.diff(words.chars)[order].tolist() == [len(word) for word in flat] and words.chars[0] == 0
    assert (words.kinds[order] & ~np.uint8(GAP)).tolist() == [plain_kinds(word) for word in flat]
    assert (
        len(set(zip(flat, words.hashes[order].tolist(), strict=True)))
        == len(set(flat))
        == len(set(words.hashes[order].tolist()))
    )


@pytest.mark.parametrize("unit", UNITS)
@settings(max_examples=200)
@given(TEXTS, st.data())
def test_arbitrary_texts_have_the_words_promised(unit: WordUnit, texts: list[str | None], data: st.DataObject) -> None:
    """Of any slice too, and each row has the words it has alone: cutting a batch anywhere changes nothing."""
    start = data.draw(st.integers(0, len(texts)))
    stop = data.draw(st.integers(start, len(texts)))
    words = cut(column(texts)[start:stop], unit)
    check(texts[start:stop], words)
    assert spelled(words) == [spelled(cut([text], unit))[0] for text in texts[start:stop]]


@pytest.mark.parametrize("unit", UNITS)
def test_every_code_point_has_the_kinds_that_python_gives_it(unit: WordUnit) -> None:
    chars = [char for char in EVERY_CHAR if not char.isspace()]
    words = cut(chars, unit)
    assert (words.counts == 1).all() and (np.diff(words.chars) == 1).all()
    assert (words.kinds & ~np.uint8(GAP)).tolist() == [plain_kinds(char) for char in chars]


@pytest.mark.parametrize("unit", UNITS)
def test_no_word_spans_white_space_at_any_code_point(unit: WordUnit) -> None:
    texts = [f"a{char}b" for char in EVERY_CHAR if char.isspace()]
    assert spelled(cut(texts, unit)) == [["a", "b"]] * len(texts)


def test_words_are_cut_where_python_cuts_them_at_every_code_point() -> None:
    texts = [f"a{char}b" for char in EVERY_CHAR]
    assert cut(texts, "whitespace").counts.tolist() == [len(text.split()) for text in texts]


@settings(max_examples=300)
@given(TEXTS)
def test_whitespace_words_are_those_of_split(texts: list[str | None]) -> None:
    assert spelled(cut(texts, "whitespace")) == [(text or "").split() for text in texts]


@pytest.mark.parametrize("unit", UNITS)
def test_plain_texts_have_the_words_promised(unit: WordUnit) -> None:
    check(PLAIN, cut(PLAIN, unit))


@pytest.mark.parametrize("unit", UNITS)
def test_a_word_has_the_hash_of_its_bytes(unit: WordUnit) -> None:
    """Of every length, so that words of one unit can be looked up among those of another."""
    texts = ["x" * size for size in range(1, 40)] + ["é" * size for size in range(1, 20)]
    words = cut(texts, unit)
    copy = np.array(words.stream)
    assert (words.counts == 1).all()
    assert words.hashes.tolist() == _hashes(copy, copy.ctypes.data, words.starts).tolist()


@njit
def _hashes(stream, base, starts):  # type: ignore[no-untyped-def]
    hashes = np.empty(len(starts) - 1, np.uint64)
    for word in range(len(hashes)):
        hashes[word] = hash_bytes(base, np.int64(starts[word]), np.int64(starts[word + 1]), len(stream))
    return hashes


@pytest.mark.parametrize("unit", UNITS)
def test_words_are_filtered_with_their_rows(unit: WordUnit) -> None:
    texts = ["the one", None, "and two, of them", "", "that"]
    words, keep = cut(texts, unit), np.array([True, False, False, True, True])
    assert spelled(words[keep]) == [["the", "one"], [], ["that"]]
    assert len(words[keep]) == 3
    assert words[keep].counts.tolist() == [2, 0, 1]


@pytest.mark.parametrize("unit", UNITS)
def test_rows_without_words_are_rows(unit: WordUnit) -> None:
    for texts in ([], [None, None], ["", " ", "\n\u3000\t"], ["", None, "a", ""]):
        check(texts, cut(texts, unit))
    check([None] * 2, cut(pa.nulls(2, pa.large_string()), unit))


@pytest.mark.parametrize("unit", UNITS)
def test_the_bytes_behind_a_null_row_are_not_read(unit: WordUnit) -> None:
    """Arrow leaves open what stands there."""
    _, offsets, data = column(["hidden words", "seen"]).buffers()
    texts = pa.Array.from_buffers(pa.large_string(), 2, [pa.py_buffer(b"\x02"), offsets, data])
    assert spelled(cut(texts, unit)) == [[], ["seen"]]


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(
    "text",
    [
        "." * 1000,
        "a" * 3_000_000,
        "中" * 1_000_000,
        "a.'" * 300_000,
        "a\n" * 1_000_000,
        "e\u0301" * 500_000,
        "\u200d" * 300_000,
    ],
    ids=lambda text: repr(text[:3]) + f"*{len(text)}",
)
def test_hostile_texts_have_the_words_promised(unit: WordUnit, text: str) -> None:
    words = cut(["of", text, "of"], unit)
    assert words.stream.tobytes().decode() == "".join(("of" + text + "of").split())
    assert words.chars[-1] == len("".join(("of" + text + "of").split()))
    assert spelled(words)[2] == ["of"] and words.hashes[0] == words.hashes[-1]


@pytest.mark.parametrize("unit", UNITS)
def test_malformed_utf8_reads_nothing_outside_its_row(unit: WordUnit) -> None:
    noise = np.random.default_rng(0).integers(128, 256, 4096, np.uint8).tobytes()
    broken = pa.Array.from_buffers(pa.large_string(), 1024, [None, pa.py_buffer(np.arange(0, 4097, 4)), pa.py_buffer(noise)])
    words = cut(broken, unit)
    sizes = words.starts[words.lasts] - words.starts[words.firsts]
    assert (sizes <= 4).all() and len(words.stream) == sizes.sum()
    offsets = pa.py_buffer(np.array([0, 1, 4, 6, 7]))
    cut_short = pa.Array.from_buffers(pa.large_string(), 4, [None, offsets, pa.py_buffer(b"\xf0abc\xe4\xb8x")])
    words = cut(cut_short, unit)
    stream = words.stream.tobytes()
    assert [stream[words.starts[words.firsts[row]] : words.starts[words.lasts[row]]] for row in (1, 3)] == [b"abc", b"x"]


@pytest.mark.parametrize("unit", UNITS)
def test_a_batch_whose_places_need_more_than_32_bits_is_refused(unit: WordUnit) -> None:
    texts = TextBuffers(np.zeros(0, np.uint8), np.zeros(1, np.int64), np.full(1, 2**31, np.int64))
    with pytest.raises(ValueError, match="cannot cut 2147483648 bytes of text into words at once"):
        cut_words(texts, unit)


def test_the_signs_of_the_peers_are_as_many_as_they_have() -> None:
    """spaCy 3.8 and datatrove 0.10."""
    sizes = [(len(signs), len(set(signs))) for signs in (SENTENCE_ENDS, TERMINAL_PUNCTUATION, PUNCTUATION)]
    assert sizes == [(128, 128), (159, 159), (281, 281)]
    assert set(SENTENCE_ENDS) < set(TERMINAL_PUNCTUATION) < set(PUNCTUATION)
    assert not set("•·€\n\t") & set(PUNCTUATION) and set("…$|–\x00\x7f１") < set(PUNCTUATION)
