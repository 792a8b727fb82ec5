"""Listed words are found as by `re` over `str.lower`, on every code point and on arbitrary text and lists."""

import re
import sys
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.text.unicode.buffers import text_buffers
from curate.text.words.phrase_search import word_search

CHARS = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]


def found(texts: pa.Array, words: Sequence[str], flanked: bool) -> list[str | None]:
    places = word_search(words, flanked)(text_buffers(texts))
    return [None if place < 0 else words[place] for place in places.tolist()]


def plain_found(text: str | None, words: Sequence[str], flanked: bool) -> str | None:
    """The word that ends first, the longest of those."""
    text = (text or "").lower()
    ends = []
    for word in words:
        pattern = rf"(?<!\w)(?={re.escape(word)}(?!\w))" if flanked else f"(?={re.escape(word)})"
        if match := re.search(pattern, text):
            ends.append((match.start() + len(word), -len(word), word))
    return min(ends)[2] if ends else None


def column(texts: Sequence[str | None]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def listed(words: Sequence[str]) -> list[str]:
    return sorted({word.lower() for word in words} - {""})


PIECES = st.lists(st.sampled_from([*"abAB_1 -.!\nσΣςßẞİ\u0307é中Ⓐ", "ab", "a b"]), max_size=6).map("".join)
WORDS = st.lists(st.one_of(PIECES, st.text(max_size=3)), max_size=5).map(listed)
TEXTS = st.lists(st.one_of(st.none(), PIECES, st.lists(PIECES, max_size=5).map(" ".join), st.text()), max_size=6)


@settings(max_examples=600)
@given(WORDS, TEXTS, st.booleans(), st.data())
def test_arbitrary_words_are_found_as_by_re(
    words: list[str], texts: list[str | None], flanked: bool, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(texts)))
    stop = data.draw(st.integers(start, len(texts)))
    expected = [plain_found(text, words, flanked) for text in texts[start:stop]]
    assert found(column(texts)[start:stop], words, flanked) == expected


def test_every_code_point_flanks_as_in_re() -> None:
    texts = [f"{char}ab{char}" for char in CHARS]
    assert found(column(texts), ["ab"], True) == [plain_found(text, ["ab"], True) for text in texts]


def test_every_code_point_has_the_lower_case_python_gives_it() -> None:
    small = listed([char for char in CHARS if char.lower() != char])
    words = set(small)
    hits = found(column(CHARS), small, False)
    assert [hit is not None for hit in hits] == [any(part in words for part in char.lower()) for char in CHARS]


@pytest.mark.parametrize(
    "text", ["", "ab" * 2_000_000, "a" * 4_000_000, " " * 1_000_000, "Σ" * 100_000 + " ab", "a\n" * 500_000]
)
def test_hostile_texts_are_searched_as_by_re(text: str) -> None:
    words = ["aab", "ab", "b a"]
    for flanked in (True, False):
        expected = [plain_found(each, words, flanked) for each in ("x", text, "ab")]
        assert found(column(["x", text, "ab"]), words, flanked) == expected


def test_no_words_are_found_nowhere() -> None:
    assert found(column(["a", None]), [], True) == [None, None]


def test_malformed_utf8_reads_nothing_outside_its_row() -> None:
    cut = pa.Array.from_buffers(pa.large_string(), 2, [None, pa.py_buffer(np.array([0, 1, 3])), pa.py_buffer(b"\xf0ab")])
    assert found(cut, ["ab"], True) == [None, "ab"]
