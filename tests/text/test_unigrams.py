"""The kernel of unigram log-probabilities agrees with a dictionary and `str.lower`, on every code point and any text."""

import gzip
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import SpecError
from curate.text.rules.unigrams import Unigrams, read_unigrams, unigram_scorer
from curate.text.unicode.buffers import text_buffers
from curate.text.words.cut import cut_words
from curate.text.words.types import ALNUM, Words

UNKNOWN = -9.5
CHARS = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]


def cut(texts: Sequence[str | None]) -> Words:
    return cut_words(text_buffers(pa.array(texts, pa.large_string())), "whitespace")


def table_of(folder: Path, counts: dict[str, int], lowercase: bool = True) -> Unigrams:
    path = folder / "table.tsv"
    path.write_text("".join(f"{word}\t{count}\n" for word, count in counts.items()), encoding="utf-8", newline="")
    return read_unigrams(str(path), lowercase=lowercase)


def plain_scores(texts: Sequence[str | None], counts: dict[str, int], lowercase: bool = True) -> list[float]:
    """The definition, word for word."""
    folded: Counter[str] = Counter()
    for word, count in counts.items():
        folded[word.lower() if lowercase else word] += count
    total = sum(counts.values())
    known = {word: math.log(count / total) for word, count in folded.items()}
    rows = [[word.lower() if lowercase else word for word in (text or "").split()] for text in texts]
    return [sum(known.get(word, UNKNOWN) for word in words) / max(len(words), 1) for words in rows]


COUNTS = {
    word: 3 ** (number % 20) for number, word in enumerate(["the", "The", "of", "a", "b", "über", "ÉTÉ", "λόγος", "οδος"])
}
COUNTS |= {"abcdefgh": 7, "abcdefghi": 5, "i̇": 2, "k": 11, "σ": 13, "ς": 17, "ω": 19, "ⱥ": 23, "𐐨": 29, "中文": 31, "x\x00": 37}
COUNTS |= {f"word{number}": number + 1 for number in range(1000)}


def test_every_code_point_is_found_in_the_lower_case_python_gives_it(tmp_path: Path) -> None:
    """Alone and before another letter; a final sigma follows a letter and stands at the end."""
    chars = [char for char in CHARS if char.lower() != char or char.upper() != char]
    counts = {char.lower(): 1 + ord(char) for char in chars} | {f"a{char}".lower(): 2 + ord(char) for char in chars}
    score = unigram_scorer(table_of(tmp_path, counts), UNKNOWN, 0)
    for texts in (chars, [f"A{char}" for char in chars]):
        assert score(cut(texts)).tolist() == pytest.approx(plain_scores(texts, counts), abs=1e-12)


def test_every_code_point_after_a_capital_sigma_makes_it_final_or_not(tmp_path: Path) -> None:
    """Code points, that is, of the planes that have letters with a case and signs that the rule looks past."""
    texts = [f"AΣ{char}B" for char in CHARS if ord(char) < 0x20000 or 0xE0000 <= ord(char) < 0xF0000]
    counts = {text.lower(): 1 + number for number, text in enumerate(texts) if number % 7 == 0 and len(text.split()) == 1}
    score = unigram_scorer(table_of(tmp_path, counts), UNKNOWN, 0)
    assert score(cut(texts)).tolist() == pytest.approx(plain_scores(texts, counts), abs=1e-12)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Unigrams]:
    return {lowercase: table_of(tmp_path_factory.mktemp("table"), COUNTS, lowercase) for lowercase in (True, False)}


PIECES = [
    *"aAbBkKİΣσςΩωÉé中𐐀Ⱥ\x00 \n\u3000\u0301.",
    "the ",
    "The ",
    "OF ",
    "ÜBER ",
    "ΛΌΓΟΣ ",
    "ΟΔΟΣ",
    "abcdefgh",
    "ABCDEFGHI ",
    "word17 ",
]
TELLING = st.lists(st.sampled_from(PIECES)).map("".join)


@settings(max_examples=300)
@given(st.lists(st.one_of(st.none(), st.text(), TELLING), max_size=8), st.booleans(), st.data())
def test_arbitrary_texts_score_as_with_a_dictionary(
    tables: dict[bool, Unigrams], texts: list[str | None], lowercase: bool, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(texts)))
    stop = data.draw(st.integers(start, len(texts)))
    words = cut_words(text_buffers(pa.array(texts, pa.large_string())[start:stop]), "whitespace")
    found = unigram_scorer(tables[lowercase], UNKNOWN, 0)(words)
    assert found.tolist() == pytest.approx(plain_scores(texts[start:stop], COUNTS, lowercase), abs=1e-12)


def test_some_of_the_rows_score_as_they_do_among_all(tables: dict[bool, Unigrams]) -> None:
    score = unigram_scorer(tables[True], UNKNOWN, 0)
    words = cut(["the", "ΑΣ of", None, "İ über", "word3 ΟΔΟΣ"])
    keep = np.array([False, True, False, True, True])
    assert score(words[keep]).tolist() == score(words)[keep].tolist()


@pytest.mark.parametrize(
    "text",
    [
        "a" * 5_000_000,
        "É" * 1_000_000,
        "Σ" * 1_000_000,
        "a\n" * 500_000,
        "Σ " * 50_000,
        "the über " * 100_000,
        "Ⱥ" * 40,
        "K" * 30,
    ],
    ids=lambda text: repr(text[:8]) + f"*{len(text)}",
)
def test_hostile_texts_score_as_with_a_dictionary(tables: dict[bool, Unigrams], text: str) -> None:
    texts = ["the", text, "of"]
    found = unigram_scorer(tables[True], UNKNOWN, 0)(cut(texts))
    assert found.tolist() == pytest.approx(plain_scores(texts, COUNTS), abs=1e-9)


def test_words_without_a_letter_or_digit_are_left_out_where_asked(tables: dict[bool, Unigrams]) -> None:
    score = unigram_scorer(tables[True], UNKNOWN, ALNUM)
    assert score(cut(["the - * of", "-- --"])).tolist() == [*plain_scores(["the of"], COUNTS), 0.0]


def test_no_rows_and_nulls_have_no_words(tables: dict[bool, Unigrams]) -> None:
    score = unigram_scorer(tables[True], UNKNOWN, 0)
    assert score(cut([])).tolist() == []
    assert score(cut([None, "", " "])).tolist() == [0.0, 0.0, 0.0]


def test_malformed_utf8_reads_nothing_outside_its_word(tables: dict[bool, Unigrams]) -> None:
    noise = np.random.default_rng(0).integers(128, 256, 4096, np.uint8)
    starts = np.arange(0, 4097, 4, dtype=np.int32)
    rows = np.arange(1025)
    kinds = np.zeros(1024, np.uint8)
    words = Words(rows[:-1], rows[1:], noise, starts, starts, kinds.astype(np.uint64), kinds)
    assert unigram_scorer(tables[True], UNKNOWN, 0)(words).tolist() == [UNKNOWN] * 1024


@pytest.mark.parametrize(
    ("content", "counts"),
    [
        ("the,3\nof,1\n", {"the": 3, "of": 1}),
        ("word,count\r\nthe,3\r\nof,1", {"the": 3, "of": 1}),
        ("word\tcount\nthe\t3\n,\t1\n", {"the": 3, ",": 1}),
        ('the,3\n",",1\n', {"the": 3, ",": 1}),
        ('the\t3\n"\t1\n', {"the": 3, '"': 1}),
        ("\ufeffthe,3\nof,1\n", {"the": 3, "of": 1}),
        ("The,1\nthe,2\nof,1\n", {"the": 3, "of": 1}),
    ],
)
def test_tables_with_commas_and_with_tabs_are_read(tmp_path: Path, content: str, counts: dict[str, int]) -> None:
    path = tmp_path / "table.csv.gz"
    path.write_bytes(gzip.compress(content.encode()))
    table = read_unigrams(str(path), lowercase=True)
    score = unigram_scorer(table, UNKNOWN, 0)
    assert table.total == sum(counts.values())
    assert score(cut(list(counts))).tolist() == pytest.approx(plain_scores(list(counts), counts))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "there are no words"),
        ("word,count\n", "there are no words"),
        ("the,3\nof\n", r"line 2: \['of'\] is no word and count"),
        ("the,3\nof,many\n", "line 2: .* is no word and count"),
        ("the,0\nof,1\n", "line 1: .* is no word and count"),
        ("the,3\nof,-1\n", "line 2: .* is no word and count"),
        ("the,3\n,1\n", "line 2: .* is no word and count"),
        ("the,3,4\n", "line 1: .* is no word and count"),
        ('the,3\n"of,1\n', "line 2: unexpected end of data"),
        ("the,3\n\udcff,1\n", "line 1: 'utf-8' codec|line 2: 'utf-8' codec"),
    ],
)
def test_a_line_that_is_no_word_and_count_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(SpecError, match=message):
        read_unigrams(str(path), lowercase=True)
