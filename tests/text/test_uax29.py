"""The unit `uax29` cuts as another implementation does, and as the rules of the annex say in plain Python."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import curate.text.words
from curate.text.unicode.buffers import text_buffers
from curate.text.words.uax29 import CLASSES, cut_uax29, word_break_classes
from tests.text.make_word_break import CHARS
from tests.text.test_words import EVERY_CHAR, column, cut, spelled

TABLE = Path(curate.text.words.__file__).with_name("word_break.txt")
HEADER, *CASES = [json.loads(line) for line in Path(__file__).with_name("word_break_cases.jsonl").read_text().splitlines()]

LETTER = {"ALetter", "Hebrew_Letter"}
MID_LETTER = {"MidLetter", "MidNumLet", "Single_Quote"}
MID_NUMBER = {"MidNum", "MidNumLet", "Single_Quote"}
SKIPPED = {"Extend", "Format", "ZWJ"}


@cache
def property_table() -> dict[str, set[str]]:
    """The values of every character that has one, straight from the file."""
    values: dict[str, set[str]] = {}
    for line in TABLE.read_text().splitlines():
        if not line.startswith("#"):
            first, last, value = line.split()
            for code in range(int(first, 16), int(last, 16) + 1):
                values.setdefault(chr(code), set()).add(value)
    return values


def is_pictograph(char: str) -> bool:
    return "Extended_Pictographic" in property_table().get(char, ())


def value_of(char: str) -> str:
    return next(iter(property_table().get(char, set()) - {"Extended_Pictographic"}), "Other")


def plain_words(text: str) -> list[str]:
    return [word for run in text.split() for word in segments(run)]


def segments(run: str) -> list[str]:
    """The rules in their order, for text without white space."""
    values = [value_of(char) for char in run]
    seen = [place for place, value in enumerate(values) if place == 0 or value not in SKIPPED]  # WB4
    cuts = [0]
    for number in range(1, len(seen)):
        place = seen[number]
        joined = run[place - 1] == "\u200d" and is_pictograph(run[place])  # WB3c
        if not joined and not joins([values[place] for place in seen], number):
            cuts.append(place)
    return [run[start:end] for start, end in zip(cuts, [*cuts[1:], len(run)], strict=True)]


def joins(values: Sequence[str], number: int) -> bool:
    """Whether there is no boundary before `number`."""
    left, right = values[number - 1], values[number]
    further_left = values[number - 2] if number > 1 else ""
    further_right = values[number + 1] if number + 1 < len(values) else ""
    if right == "Regional_Indicator":  # WB15, WB16
        before = 0
        while before < number and values[number - 1 - before] == "Regional_Indicator":
            before += 1
        return before % 2 == 1
    hebrew = "Hebrew_Letter"
    return (
        (left in LETTER and right in LETTER)  # WB5
        or (left in LETTER and right in MID_LETTER and further_right in LETTER)  # WB6
        or (further_left in LETTER and left in MID_LETTER and right in LETTER)  # WB7
        or (left == hebrew and right == "Single_Quote")  # WB7a
        or (left == hebrew and right == "Double_Quote" and further_right == hebrew)  # WB7b
        or (further_left == hebrew and left == "Double_Quote" and right == hebrew)  # WB7c
        or (left in {*LETTER, "Numeric"} and right == "Numeric")  # WB8, WB9
        or (left == "Numeric" and right in LETTER)  # WB10
        or (further_left == "Numeric" and left in MID_NUMBER and right == "Numeric")  # WB11
        or (left == "Numeric" and right in MID_NUMBER and further_right == "Numeric")  # WB12
        or (left == right == "Katakana")  # WB13
        or (left in {*LETTER, "Numeric", "Katakana", "ExtendNumLet"} and right == "ExtendNumLet")  # WB13a
        or (left == "ExtendNumLet" and right in {*LETTER, "Numeric", "Katakana"})  # WB13b
    )


def words(texts: Sequence[str | None]) -> list[list[str]]:
    return spelled(cut_uax29(text_buffers(column(texts))))


def recorded_words(case: dict[str, list[int]], text: str) -> list[str]:
    starts = [0, *case["ends"][:-1]] if case["ends"] else []
    return [word for start, end in zip(starts, case["ends"], strict=True) for word in text[start:end].split()]


def test_the_recorded_boundaries_of_another_implementation_are_found() -> None:
    texts = [case["text"] for case in CASES]
    assert len(texts) > 300
    assert words(texts) == [recorded_words(case, case["text"]) for case in CASES]


def test_the_plain_rules_find_the_recorded_boundaries_too() -> None:
    assert [plain_words(case["text"]) for case in CASES] == [recorded_words(case, case["text"]) for case in CASES]


def test_the_table_and_the_cases_are_of_one_version() -> None:
    assert HEADER == {"source": "uniseg 0.10.1, Unicode 16.0.0"}
    assert HEADER["source"] in TABLE.read_text().splitlines()[1]


def test_every_code_point_has_the_class_that_the_file_gives_it() -> None:
    pictographs = {"Other": "Pictograph", "ALetter": "Pictographic_Letter"}
    expected = ["Space" if char.isspace() else value_of(char) for char in EVERY_CHAR]
    expected = [pictographs[kind] if is_pictograph(char) else kind for kind, char in zip(expected, EVERY_CHAR, strict=True)]
    classes = word_break_classes()
    assert [CLASSES[classes[ord(char)]] for char in EVERY_CHAR] == expected


def test_all_that_has_a_rule_of_its_own_as_white_space_is_white_space() -> None:
    spaces = [char for char in EVERY_CHAR if value_of(char) in ("CR", "LF", "Newline", "WSegSpace")]
    assert all(map(str.isspace, spaces))


def test_every_code_point_cuts_as_its_class_does() -> None:
    """Between letters, digits and signs of its kind, and after a joiner."""
    texts = [f"a{char}b{char}1{char}1\u200d{char}_{char}" for char in EVERY_CHAR]
    classes = word_break_classes()
    kinds = [int(classes[ord(char)]) for char in EVERY_CHAR]
    one_of_each = dict(zip(kinds, texts, strict=True))
    counts = {kind: len(plain_words(text)) for kind, text in one_of_each.items()}
    assert len(counts) == len(CLASSES)
    assert cut(texts, "uax29").counts.tolist() == [counts[kind] for kind in kinds]


PIECES = [*CHARS, *"\u202f\x1c\x85", "can't", "3.14", "e\u0301", "אב", "letters"]
TELLING = st.lists(st.sampled_from(PIECES)).map("".join)


@settings(max_examples=1000)
@given(st.lists(st.one_of(st.none(), st.text(), TELLING), max_size=8), st.data())
def test_arbitrary_texts_are_cut_as_in_plain_python(texts: list[str | None], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(texts)))
    stop = data.draw(st.integers(start, len(texts)))
    assert spelled(cut(column(texts)[start:stop], "uax29")) == [plain_words(text or "") for text in texts[start:stop]]


@pytest.mark.parametrize("size", range(30))
def test_letters_are_taken_eight_at_a_time_up_to_the_end_and_to_any_other_character(size: int) -> None:
    texts = [
        "x" * size,
        "x" * size + ".",
        "x" * size + "é" * size,
        "x" * size + "1 " + "y" * size,
        "x" * size + "'" + "Z" * size,
    ]
    texts += ["x" * size + char + "[" * size + "{`@" for char in "éÿ中😀"]
    assert words(texts) == [plain_words(text) for text in texts]


def test_white_space_in_a_segment_with_something_else_cuts_it() -> None:
    """Both cases that the unit's description names."""
    assert words(["a \u0301b", "10\u202f000", "a_b", "\u202f\u0301a"]) == [
        ["a", "\u0301", "b"],
        ["10", "000"],
        ["a_b"],
        ["\u0301", "a"],
    ]
