"""The Gopher kernel agrees with what it means in plain Python, on every code point and on arbitrary text."""

import string
import sys
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.stages.gopher_quality import BULLETS
from curate.text.buffers import text_buffers
from curate.text.gopher import COUNTS, gopher_counter

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
CHARS = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]


def counts(texts: pa.Array, stop_words: Sequence[str] = STOP_WORDS) -> list[dict[str, int]]:
    rows = gopher_counter(BULLETS, stop_words)(text_buffers(texts))
    return [dict(zip(COUNTS, row, strict=True)) for row in rows.tolist()]


def plain_counts(text: str | None, stop_words: Sequence[str] = STOP_WORDS) -> dict[str, int]:
    """The definitions, word for word."""
    text = text or ""
    words = text.split()
    real = [word for word in words if any(char.isalnum() for char in word)]
    lines = [line for line in text.splitlines() if line.strip()]
    return {
        "all_words": len(words),
        "words": len(real),
        "word_chars": sum(len(word) for word in real),
        "alpha_words": sum(any(char.isalpha() for char in word) for word in words),
        "stop_words": len({word.strip(string.punctuation).lower() for word in words} & set(stop_words)),
        "hashes": text.count("#"),
        "ellipses": text.count("...") + text.count("…"),
        "lines": len(lines),
        "bullet_lines": sum(line.lstrip().startswith(tuple(BULLETS)) for line in lines),
        "ellipsis_lines": sum(line.rstrip().endswith(("...", "…")) for line in lines),
    }


def column(texts: Sequence[str | None]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def counted(texts: Sequence[str], name: str, stop_words: Sequence[str] = STOP_WORDS) -> list[int]:
    rows = gopher_counter(BULLETS, stop_words)(text_buffers(column(texts)))
    return [int(value) for value in rows[:, COUNTS.index(name)]]


def test_words_are_cut_where_python_cuts_them_at_every_code_point() -> None:
    texts = [f"a{char}b" for char in CHARS]
    assert counted(texts, "all_words") == [len(text.split()) for text in texts]


def test_lines_are_cut_where_python_cuts_them_at_every_code_point() -> None:
    texts = [f"a{char}b" for char in CHARS]
    assert counted(texts, "lines") == [len(text.splitlines()) for text in texts]


def test_every_code_point_is_a_letter_or_digit_where_python_says_so() -> None:
    assert counted(CHARS, "words") == [char.isalnum() for char in CHARS]
    assert counted(CHARS, "alpha_words") == [char.isalpha() for char in CHARS]


def test_every_code_point_has_the_lower_case_python_gives_it() -> None:
    """Through stop words, which are lower-cased, for ASCII and for other scripts."""
    small = [char for char in CHARS if char.islower()]
    stop_words = set(small)
    found = counted(CHARS, "stop_words", small)
    assert found == [char.lower() in stop_words for char in CHARS]


def test_an_ascii_stop_word_is_found_in_any_case_and_only_as_python_finds_it() -> None:
    texts = [f"{char}ind" for char in CHARS]
    assert counted(texts, "stop_words", ["kind"]) == [text.strip(string.punctuation).lower() == "kind" for text in texts]


PIECES = [*"aB1#.…-•*\"',é中😀 \n\r\t\x0b\x1c\x1f\x85\xa0\u2028\u3000", "...", "the", "The", "of"]
TELLING = st.lists(st.sampled_from(PIECES)).map("".join)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.one_of(st.none(), st.text(), TELLING), max_size=8), st.data())
def test_arbitrary_texts_count_as_in_plain_python(texts: list[str | None], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(texts)))
    stop = data.draw(st.integers(start, len(texts)))
    assert counts(column(texts)[start:stop]) == [plain_counts(text) for text in texts[start:stop]]


WORD = st.text("don't-ſé", min_size=1).map(lambda word: word.strip(string.punctuation)).filter(bool)


@settings(deadline=None, max_examples=300)
@given(st.lists(WORD, max_size=6), st.text("don'tDT-.ſSé "))
def test_arbitrary_stop_words_are_found_as_in_plain_python(stop_words: list[str], text: str) -> None:
    """Punctuation around a stop word may itself go on to a longer one: "don'" and "don't"."""
    expected = plain_counts(text, stop_words)["stop_words"]
    assert counts(column([text]), sorted(set(stop_words)))[0]["stop_words"] == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n\r\n\x85\u2028 \t",
        "." * 1000,
        "a" * 5_000_000,
        "中" * 1_000_000,
        "'" * 5_000_000,
        "a\n" * 100_000,
        "the of " * 100_000,
        "- a...\r\n" * 50_000,
        "\x00",
        "\ufeffthe",
        "of\u200bthe",
        "e\u0301",
        "\U0010ffff",
    ],
    ids=lambda text: repr(text[:8]) + f"*{len(text)}",
)
def test_hostile_texts_count_as_in_plain_python(text: str) -> None:
    assert counts(column(["of", text, "of"])) == [plain_counts("of"), plain_counts(text), plain_counts("of")]


def test_a_slice_counts_its_own_rows_only() -> None:
    texts = ["the one", None, "and two of them", "", "that…"]
    whole = column(texts)
    assert counts(whole[2:]) == [plain_counts(text) for text in texts[2:]]
    assert counts(whole[1:4][1:]) == [plain_counts(text) for text in texts[2:4]]
    assert counts(whole[5:]) == []


def test_an_array_of_no_rows_and_one_of_nulls_have_no_words() -> None:
    assert counts(pa.array([], pa.large_string())) == []
    assert counts(pa.nulls(2, pa.large_string())) == [plain_counts(None)] * 2


def test_the_bytes_behind_a_null_row_are_not_read() -> None:
    """Arrow leaves open what stands there."""
    _, offsets, data = column(["hidden words", "seen"]).buffers()
    texts = pa.Array.from_buffers(pa.large_string(), 2, [pa.py_buffer(b"\x02"), offsets, data])
    assert texts.to_pylist() == [None, "seen"]
    assert counts(texts) == [plain_counts(None), plain_counts("seen")]


def test_text_with_short_offsets_is_read_too() -> None:
    assert counts(pa.array(["the one", None])) == [plain_counts("the one"), plain_counts(None)]


def test_malformed_utf8_reads_nothing_outside_its_row() -> None:
    noise = np.random.default_rng(0).integers(128, 256, 4096, np.uint8).tobytes()
    offsets = np.arange(0, 4097, 4)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(noise)]
    broken = pa.Array.from_buffers(pa.large_string(), 1024, buffers)
    assert all(row["word_chars"] <= 4 for row in counts(broken))
    cut = pa.Array.from_buffers(pa.large_string(), 2, [None, pa.py_buffer(np.array([0, 1, 4])), pa.py_buffer(b"\xf0abc")])
    assert counts(cut)[1] == plain_counts("abc")
