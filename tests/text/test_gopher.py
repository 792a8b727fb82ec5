"""The Gopher kernels agree with what they mean in plain Python, on every code point and on arbitrary text."""

import re
import statistics
import string
import sys
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.stages.filters.gopher_quality import BULLETS
from curate.text.rules.gopher import (
    COUNTS,
    LONG,
    SIGN_COUNTS,
    WORD_COUNTS,
    LineRules,
    count_blank_words,
    count_symbol_words,
    gopher_counter,
    median_chars,
    sign_counter,
    word_counter,
)
from curate.text.unicode.buffers import text_buffers
from curate.text.words.cut import cut_words
from curate.text.words.punctuation import PUNCTUATION
from curate.text.words.types import ALNUM, SOLID, Words

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


PIECES = [*"aB1#.…-•*\"',é中😀 \n\r\t\x0b\x1c\x1f\x85\xa0\u2028\u3000\0", "...", ". . .", "\r\n", "the", "The", "of"]
TELLING = st.lists(st.sampled_from(PIECES)).map("".join)


@settings(max_examples=300)
@given(st.lists(st.one_of(st.none(), st.text(), TELLING), max_size=8), st.data())
def test_arbitrary_texts_count_as_in_plain_python(texts: list[str | None], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(texts)))
    stop = data.draw(st.integers(start, len(texts)))
    assert counts(column(texts)[start:stop]) == [plain_counts(text) for text in texts[start:stop]]


WORD = st.text("don't-ſé", min_size=1).map(lambda word: word.strip(string.punctuation)).filter(bool)


@settings(max_examples=300)
@given(st.lists(WORD, max_size=6), st.text("don'tDT-.ſSé "))
def test_arbitrary_stop_words_are_found_as_in_plain_python(stop_words: list[str], text: str) -> None:
    """Punctuation around a stop word may itself go on to a longer one: "don'" and "don't"."""
    expected = plain_counts(text, stop_words)["stop_words"]
    assert counts(column([text]), sorted(set(stop_words)))[0]["stop_words"] == expected


HOSTILE = pytest.mark.parametrize(
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
        ". " * 100_000,
        "…" * 300_000,
        "\u1680\u2000" * 100_000,
    ],
    ids=lambda text: repr(text[:8]) + f"*{len(text)}",
)


@HOSTILE
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


def words_of(texts: Sequence[str | None] | pa.Array) -> Words:
    return cut_words(text_buffers(texts if isinstance(texts, pa.Array) else column(texts)), "whitespace")


def plain_word_counts(text: str | None, stop_words: Sequence[str], *, any_case: bool, real: int) -> dict[str, int]:
    """The definitions, word for word, of words taken as they stand."""
    words = (text or "").split()
    shown = [word.lower() if any_case else word for word in words]
    wanted = {char for word in words for char in word if (char.isalnum() if real == ALNUM else char not in PUNCTUATION)}
    chosen = [word for word in words if not wanted.isdisjoint(word)]
    return {
        "all_words": len(words),
        "words": len(chosen),
        "word_chars": sum(map(len, chosen)),
        "alpha_words": sum(any(map(str.isalpha, word)) for word in words),
        "stop_words": len(set(shown) & set(stop_words)),
        "stop_word_uses": sum(word in stop_words for word in shown),
    }


def word_counts(words: Words, stop_words: Sequence[str], *, any_case: bool, real: int) -> list[dict[str, int]]:
    counter = word_counter(stop_words, real, any_case=any_case, trim=False)
    return [dict(zip(WORD_COUNTS, row, strict=True)) for row in counter(words).tolist()]


@pytest.mark.parametrize("any_case", [True, False])
@pytest.mark.parametrize("real", [ALNUM, SOLID])
@settings(max_examples=150)
@given(texts=st.lists(st.one_of(st.none(), st.text(), TELLING), max_size=8), data=st.data())
def test_arbitrary_words_count_as_in_plain_python(
    any_case: bool, real: int, texts: list[str | None], data: st.DataObject
) -> None:
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(texts), max_size=len(texts))), np.bool_)
    expected = [plain_word_counts(text, STOP_WORDS, any_case=any_case, real=real) for text in texts]
    words = words_of(texts)
    assert word_counts(words, STOP_WORDS, any_case=any_case, real=real) == expected
    filtered = [counts for counts, wanted in zip(expected, keep, strict=True) if wanted]
    assert word_counts(words[keep], STOP_WORDS, any_case=any_case, real=real) == filtered


def test_exact_stop_words_are_found_in_their_own_case_and_without_signs_only() -> None:
    words = words_of(["the The the, 'the thé théa", "о О о."])
    found = word_counts(words, ["the", "thé", "о", "don't", "…"], any_case=False, real=ALNUM)
    assert [row["stop_word_uses"] for row in found] == [2, 1]
    found = word_counts(words, ["the", "thé", "о"], any_case=True, real=ALNUM)
    assert [row["stop_word_uses"] for row in found] == [3, 2]


def plain_median(text: str | None) -> float:
    lengths = [len(word) for word in (text or "").split()]
    return float(statistics.median(lengths)) if lengths else 0.0


LENGTHS = st.lists(st.sampled_from([1, 2, 3, 7, LONG - 1, LONG, LONG + 1, 200]), max_size=9)


@settings(max_examples=300)
@given(st.lists(LENGTHS, max_size=6))
def test_medians_are_those_of_the_standard_library(rows: list[list[int]]) -> None:
    texts = [" ".join("é" * length for length in lengths) for lengths in rows]
    assert median_chars(words_of(texts)).tolist() == [plain_median(text) for text in texts]


@settings(max_examples=200)
@given(st.lists(st.one_of(st.none(), st.text(), TELLING), max_size=8))
def test_words_with_symbols_and_fasttext_words_count_as_in_plain_python(texts: list[str | None]) -> None:
    symbols = [sum("#" in word or "…" in word for word in (text or "").split()) for text in texts]
    assert count_symbol_words(words_of(texts)).tolist() == symbols
    blank = [re.split("[ \\n\\r\\t\\v\\f\\0]+", text or "") for text in texts]
    begun = [sum(word[:1].isalnum() for word in words) for words in blank]
    assert count_blank_words(text_buffers(column(texts))).tolist() == begun


def test_fasttext_words_begin_with_a_letter_or_digit_where_python_says_so() -> None:
    blocks = (CHARS[start : start + 64] for start in range(0, len(CHARS), 64))
    texts = ["".join(f" {char}- a{char}b" for char in block) for block in blocks]
    split = [re.split("[ \\n\\r\\t\\v\\f\\0]+", text) for text in texts]
    expected = [sum(word[:1].isalnum() for word in words) for words in split]
    assert count_blank_words(text_buffers(column(texts))).tolist() == expected


LINE_RULES = {
    "datatrove": LineRules("•-", splitlines=True),
    "dclm": LineRules("●•*-", splitlines=False, blank_lines=False, spaced_dots=True),
    "dolma": LineRules("*-", splitlines=False, strip=False, dots=False),
}


def plain_sign_counts(text: str | None, rules: LineRules) -> dict[str, int]:
    """The definitions, word for word."""
    text = text or ""
    lines = text.splitlines() if rules.splitlines else text.split("\n")
    if rules.strip:
        lines = [line.strip() for line in lines]
    if not rules.blank_lines:
        lines = [line for line in lines if line]
    endings = ("…", *["..."] * rules.dots, *[". . ."] * rules.spaced_dots)
    return {
        "hashes": text.count("#"),
        "dots": text.count("..."),
        "one_char": text.count("…"),
        "spaced_dots": text.count(". . ."),
        "lines": len(lines),
        "bullet_lines": sum(line.startswith(tuple(rules.bullets)) for line in lines),
        "ellipsis_lines": sum(line.endswith(endings) for line in lines),
    }


def sign_counts(texts: pa.Array, rules: LineRules) -> list[dict[str, int]]:
    return [dict(zip(SIGN_COUNTS, row, strict=True)) for row in sign_counter(rules)(text_buffers(texts)).tolist()]


DOTTED = st.text("a. \n…-", max_size=60)


@pytest.mark.parametrize("rules", LINE_RULES.values(), ids=LINE_RULES)
@settings(max_examples=300)
@given(texts=st.lists(st.one_of(st.none(), st.text(), TELLING, DOTTED), max_size=8), data=st.data())
def test_signs_and_lines_count_as_in_plain_python(rules: LineRules, texts: list[str | None], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(texts)))
    stop = data.draw(st.integers(start, len(texts)))
    assert sign_counts(column(texts)[start:stop], rules) == [plain_sign_counts(text, rules) for text in texts[start:stop]]


@pytest.mark.parametrize("rules", LINE_RULES.values(), ids=LINE_RULES)
def test_signs_and_lines_at_every_code_point(rules: LineRules) -> None:
    blocks = (CHARS[start : start + 64] for start in range(0, len(CHARS), 64))
    texts = ["".join(f"{char}- {char}\n{char}...{char}\n" for char in block) for block in blocks]
    assert sign_counts(column(texts), rules) == [plain_sign_counts(text, rules) for text in texts]


@pytest.mark.parametrize("rules", LINE_RULES.values(), ids=LINE_RULES)
@HOSTILE
def test_hostile_texts_have_the_signs_and_lines_of_plain_python(rules: LineRules, text: str) -> None:
    expected = [plain_sign_counts(each, rules) for each in ("of...", text, "…of")]
    assert sign_counts(column(["of...", text, "…of"]), rules) == expected


def test_signs_of_malformed_utf8_stay_in_their_row() -> None:
    noise = np.random.default_rng(0).integers(0, 256, 4096, np.uint8).tobytes()
    broken = pa.Array.from_buffers(pa.large_string(), 1024, [None, pa.py_buffer(np.arange(0, 4097, 4)), pa.py_buffer(noise)])
    for rules in LINE_RULES.values():
        assert all(sum(row.values()) <= 16 for row in sign_counts(broken, rules))
    assert count_blank_words(text_buffers(broken)).max() <= 2
    pieces = [b"\xe2\x80", b"\xa6", b"\xe2", b"\x80\xa6", b"..", b".", b"a" * 9 + b"."]
    ends = np.cumsum([0, *map(len, pieces)])
    cut = pa.Array.from_buffers(pa.large_string(), len(pieces), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(pieces))])
    assert all(row["dots"] == row["one_char"] == row["ellipsis_lines"] == 0 for row in sign_counts(cut, LINE_RULES["dclm"]))
