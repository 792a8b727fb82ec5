"""The words of unit `spacy` are spaCy's, token for token."""

from __future__ import annotations

import itertools
import string
import sys
from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.text.unicode.buffers import text_buffers
from curate.text.words import spacy_rules as rules
from curate.text.words.spacy import SpacyCutter
from curate.text.words.spacy_fill import QUEUE
from curate.text.words.spacy_rules import english, spacy_rules
from curate.text.words.types import GAP, Words

CUTTER = SpacyCutter(spacy_rules())


def cut(texts: Sequence[str | None], cutter: SpacyCutter = CUTTER) -> list[list[tuple[str, bool]]]:
    """Every word, and whether white space that is a token of spaCy's stands before it."""
    words = cutter(text_buffers(pa.array(texts, pa.large_string())))
    return [
        [(text_of(words, word), bool(words.kinds[word] & GAP)) for word in range(words.firsts[row], words.lasts[row])]
        for row in range(len(words))
    ]


def text_of(words: Words, word: int) -> str:
    return words.stream[words.starts[word] : words.starts[word + 1]].tobytes().decode()


def by_spacy(text: str | None) -> list[tuple[str, bool]]:
    tokens = [token.text for token in english().tokenizer(text or "")]
    pairs = [(token, before.isspace()) for before, token in itertools.pairwise(["", *tokens]) if not token.isspace()]
    return [(token, gap and place > 0) for place, (token, gap) in enumerate(pairs)]


# One or more characters of every class the rules know, and what special words are made of.
REPRESENTATIVES = "aAé中sUC0-.,:'’\"(/$%+*°=…—_)м"
CHUNKS = st.one_of(
    st.text(REPRESENTATIVES, max_size=8),
    st.sampled_from([word for word, _ in spacy_rules().specials]),
    st.sampled_from(
        ["http://a.b.com/x-y", "e-mail@x.org", "1.2.3.4-a", "don't", "5km/h", "US$5", "10°C.", "a--b", "x:)", "('Mr.'"]
    ),
    st.text(max_size=6),
)
TEXTS = st.lists(st.tuples(CHUNKS, st.sampled_from(["", " ", "  ", "\n", "\t", " \n", "\u3000"]))).map(
    lambda parts: "".join(itertools.chain.from_iterable(parts))
)


@settings(max_examples=500)
@given(st.lists(st.one_of(st.none(), TEXTS), max_size=5), st.data())
def test_arbitrary_texts_are_cut_as_by_spacy(texts: list[str | None], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(texts)))
    words = CUTTER(text_buffers(pa.array(texts, pa.large_string())[start:]))
    assert [[text_of(words, k) for k in range(words.firsts[r], words.lasts[r])] for r in range(len(words))] == [
        [word for word, _ in by_spacy(text)] for text in texts[start:]
    ]
    assert cut(texts) == [by_spacy(text) for text in texts]


def test_every_chunk_of_three_characters_is_cut_as_by_spacy() -> None:
    agree(["".join(chars) for chars in itertools.product(REPRESENTATIVES, repeat=3)])


def test_words_of_letters_of_any_length_and_case_are_cut_as_by_spacy_before_any_mark() -> None:
    shapes = [shape for size in range(1, 20) for shape in ("a" * size, "A" * size, "a" * size + "A", "A" + "a" * size)]
    marks = ["", *string.punctuation, "...", ".,", "’", "”"]
    agree([shape + mark for shape in shapes for mark in marks])
    for shape in shapes:  # at the very end of the bytes
        assert cut([shape + "."]) == [by_spacy(shape + ".")]


def test_special_words_are_cut_as_by_spacy_alone_and_in_company() -> None:
    specials = [word for word, _ in spacy_rules().specials]
    agree([before + word + after for word in specials for before in ("", "x", '"') for after in ("", "x", ",", ".", ")", "'s")])


@pytest.mark.slow
def test_every_chunk_of_four_characters_is_cut_as_by_spacy() -> None:
    agree(["".join(chars) for chars in itertools.product(REPRESENTATIVES, repeat=4)])


def agree(chunks: list[str]) -> None:
    """Line breaks keep chunks apart for spaCy, which takes one long text in a fraction of the time of many."""
    expected: list[list[str]] = [[]]
    for token in english().tokenizer("\n".join(chunks)):
        if token.text == "\n":
            expected.append([])
        else:
            expected[-1].append(token.text)
    assert [[word for word, _ in row] for row in cut(chunks)] == expected


@pytest.mark.slow
def test_every_code_point_is_what_spacys_patterns_take_it_for() -> None:
    tokenizer, classes = english().tokenizer, spacy_rules().classes
    wrong = []
    for char in map(chr, range(sys.maxunicode + 1)):
        if 0xD800 <= ord(char) < 0xE000 or char in "+.":  # the two that look at their neighbours
            continue
        kind = classes[ord(char)]
        found = (
            tokenizer.find_prefix(char + "a") == 1,
            tokenizer.find_suffix("~" + char) == 1,
            bool(tokenizer.find_infix("~" + char + "~")),
            tokenizer.find_suffix(char + ".") == 1,
            bool(tokenizer.find_infix("a," + char)),
            bool(tokenizer.find_infix("a." + char)),
        )
        bits = (rules.PREFIX, rules.SUFFIX, rules.INFIX, rules.BEFORE_DOT)
        if found[:4] != tuple(bool(kind & bit) for bit in bits):
            wrong.append(char)
        if not kind & rules.INFIX and found[4:] != (bool(kind & rules.LETTER), bool(kind & (rules.UPPER | rules.QUOTE))):
            wrong.append(char)
    assert wrong == []


@pytest.mark.parametrize(
    "text",
    [
        "x:) )",  # the longer ':))' blocks ':)' though it comes to nothing itself
        "x:) ) (a.) o.O",
        "a:)",
        "(U.S.)",
        "\x00a\x00 \x00",
        "(" * 3000,
        "a," * 2000,
        "ab " * 20_000,
        "中" * 5_000,
        "...",
        "http://" + "a/" * 500,
    ],
    ids=lambda text: repr(text[:8]),
)
def test_hostile_texts_are_cut_as_by_spacy(text: str) -> None:
    assert cut(["one", text, "two"]) == [by_spacy("one"), by_spacy(text), by_spacy("two")]


@pytest.mark.slow
def test_a_chunk_of_fifty_megabytes_is_cut_in_a_moment() -> None:
    words = CUTTER(text_buffers(pa.array(["a" * 50_000_000, "(" * 1_000_000], pa.large_string())))
    assert words.counts.tolist() == [1, 1_000_000]


def test_a_full_table_and_unknown_rules_change_no_word() -> None:
    texts = [f"word{i}, it's {i}km from x{i}.com/a-b (no: {i}) :) ..." for i in range(300)]
    expected = [by_spacy(text) for text in texts]
    assert cut(texts, SpacyCutter(spacy_rules(), slots=64)) == expected
    assert cut(texts, SpacyCutter(replace(spacy_rules(), known=False))) == expected


def test_what_is_remembered_of_urls_is_bounded() -> None:
    cutter = SpacyCutter(spacy_rules(), slots=256)
    for batch in range(8):
        texts = [f"http://a.example/{batch}-{number}" for number in range(500)]
        assert cut(texts, cutter) == [by_spacy(text) for text in texts]
    assert cutter.matched == 4000 and len(cutter._urls) <= 1 << 12


def test_the_rules_of_the_installed_spacy_are_those_the_kernel_knows() -> None:
    """Otherwise all goes to spaCy, which is exact and slow: look at what changed and teach the kernel."""
    assert spacy_rules().known


def test_few_chunks_of_prose_go_to_spacy() -> None:
    text = 'The keeper said, quietly: "It\'s gone." Nobody (not even the well-read 3rd mate) knew—or asked—why; 12km out, rain.'
    cutter = SpacyCutter(spacy_rules())
    assert cut([text], cutter) == [by_spacy(text)]
    assert (cutter.asked, cutter.met) == (0, 8)  # the ten plain words are not even looked up


def test_a_find_across_white_space_blocks_one_wherever_the_kernel_stops_to_look_at_chunks() -> None:
    texts = [" ".join(["word"] * before + ["x:)", ")"] + ["more"] * 40) for before in range(QUEUE + 2)]
    assert [[word for word, _ in words] for words in cut(texts)] == [
        [token.text for token in english().tokenizer(text) if not token.is_space] for text in texts
    ]
