"""The kernel of `refinedweb_lines` knows every code point as Python does and notes every line that may change."""

import re
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.text.rules.refinedweb import COUNTER, DIGITS, LINE, PHRASE, UPPERS, WORDS, Notable, count_words, notable_finder
from curate.text.unicode.buffers import text_buffers

CHARS = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000 and code != 10]
OFF: dict[str, Any] = {
    "max_newlines": None, "max_upper_frac": None, "max_digit_frac": None, "counters": False, "min_words": None, "phrases": [],
    "max_phrase_words": None,
}  # fmt: skip


def notable(texts: Sequence[str | None], **options: Any) -> Notable:
    return notable_finder(**{**OFF, **options})(text_buffers(pa.array(texts, pa.large_string())))


def column(lines: Sequence[str], name: int, **options: Any) -> list[int]:
    """What the kernel says of every line of one text."""
    found = notable(["\n".join(lines)], min_words=sys.maxsize, **options)
    assert found.lines[:, LINE].tolist() == list(range(len(lines)))
    return [int(value) for value in found.lines[:, name]]


def plain_words(text: str) -> int:
    return sum(token[0].isalnum() for token in re.split("[ \t\n\v\f\r\0]+", text) if token)


def test_every_code_point_is_a_capital_a_digit_and_a_blank_where_python_says_so() -> None:
    lines = [f"a{char}b" for char in CHARS]
    assert column(lines, UPPERS) == [char.isupper() for char in CHARS]
    assert column(lines, DIGITS) == [char.isdigit() for char in CHARS]
    assert column(lines, WORDS) == [len(line.split()) for line in lines]


@pytest.mark.slow
def test_every_code_point_cuts_and_begins_words_as_in_plain_python() -> None:
    texts = [f"{char}a{char}1" for char in ["\n", *CHARS]]
    assert count_words(text_buffers(pa.array(texts, pa.large_string()))).tolist() == [plain_words(text) for text in texts]
    assert notable(texts).words.tolist() == [plain_words(text) for text in texts]


@pytest.mark.slow
def test_a_line_may_be_a_counter_where_its_first_word_character_is_a_digit_and_its_last_an_s() -> None:
    lines = [f"{char}1 s{char}" for char in CHARS]
    assert column(lines, COUNTER, counters=True) == [
        bool(re.match(r"\W*\d", line)) and line.rstrip(char if not re.match(r"\w", char) else "")[-1] in "sS"
        for line, char in zip(lines, CHARS, strict=True)
    ]


@pytest.mark.slow
def test_no_code_point_becomes_the_last_letter_of_a_counter_in_lower_case_but_its_capital() -> None:
    assert [char for char in CHARS if re.findall(r"\w", char.lower())[-1:] == ["s"]] == ["S", "s"]
    assert [char for char in CHARS if re.search(r"\w", char.lower()) and not re.match(r"\w", char)] == []


@pytest.mark.slow
def test_every_code_point_is_the_letter_of_a_phrase_that_re_takes_it_for() -> None:
    for letter in "ik中":
        alike = [bool(re.fullmatch(letter, char, re.IGNORECASE)) for char in CHARS]
        assert column([f"x{char}y" for char in CHARS], PHRASE, phrases=[letter]) == alike


WORD = st.text("abAſs. ", min_size=1, max_size=4).map(str.lower)


@pytest.mark.slow
@settings(max_examples=150)
@given(st.lists(WORD, min_size=1, max_size=5), st.lists(st.text("abABſsSx. ", min_size=1, max_size=12), min_size=1, max_size=5))
def test_arbitrary_phrases_are_found_as_by_re(phrases: list[str], lines: list[str]) -> None:
    pattern = re.compile("|".join(map(re.escape, phrases)), re.IGNORECASE)
    expected = [bool(pattern.search(line)) or not line.strip() for line in lines]
    assert column(lines, PHRASE, phrases=phrases) == expected
    few = [found and len(line.split()) <= 1 for found, line in zip(expected, lines, strict=True)]
    assert column(lines, PHRASE, phrases=phrases, max_phrase_words=1) == few


@settings(max_examples=150)
@given(st.lists(st.none() | st.text() | st.text("a \n\r\x1c\xa0中"), max_size=6), st.data())
def test_a_text_is_touched_when_trimming_or_newlines_would_change_it(texts: list[str | None], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(texts)))
    rows = pa.array(texts, pa.large_string())[start:]
    found = notable_finder(**{**OFF, "max_newlines": 2})(text_buffers(rows))
    plain = [text or "" for text in texts[start:]]
    assert found.touched.tolist() == [not text or text != text.strip() or "\n\n\n" in text for text in plain]
    assert found.words.tolist() == [plain_words(text) for text in plain]


def test_a_text_without_notable_lines_has_none_and_keeps_its_place_in_the_batch() -> None:
    found = notable(["a b\nA\nc d", None, "", "a b", "C\nD e"], max_upper_frac=0.3)
    assert found.firsts.tolist() == [0, 1, 1, 1, 1, 3]
    assert found.lines[:, :4].tolist() == [[1, 1, 0, 1], [0, 1, 0, 1], [1, 1, 0, 2]]


def test_phrases_may_have_any_number_of_different_characters() -> None:
    many = [chr(code) + "x" for code in range(0x4E00, 0x4E00 + 600)]
    assert column([*many, "xx", "丁丁"], PHRASE, phrases=many) == [1] * len(many) + [0, 0]


def test_malformed_utf8_reads_nothing_outside_its_row() -> None:
    noise = np.random.default_rng(0).integers(128, 256, 4096, np.uint8).tobytes()
    buffers = [None, pa.py_buffer(np.arange(0, 4097, 4)), pa.py_buffer(noise)]
    broken = text_buffers(pa.Array.from_buffers(pa.large_string(), 1024, buffers))
    assert max(count_words(broken)) <= 4
    assert notable_finder(**{**OFF, "min_words": 9})(broken).lines[:, WORDS].max() <= 4
    cut = pa.Array.from_buffers(pa.large_string(), 2, [None, pa.py_buffer(np.array([0, 1, 4])), pa.py_buffer(b"\xf0abc")])
    assert count_words(text_buffers(cut))[1] == 1
