"""`refinedweb_lines` gives the texts and drop reasons of its definition in plain Python, and edits that lead to them."""

import re
import subprocess
import sys
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import curate
from curate.api.batch import apply_edits
from curate.errors import SpecError
from curate.stages.filters.refinedweb_lines import COUNTED, RefinedwebLines

ONE_ROW = pa.table({"text": ["one"]})
COUNTER = re.compile(rf"^\W*\d(,|\.|\d)*[kmb]?\s+({'|'.join(COUNTED)})\W*$")


def words_of(text: str) -> int:
    """fastText's tokens that begin with a letter or digit."""
    return sum(token[0].isalnum() for token in re.split("[ \t\n\v\f\r\0]+", text) if token)


def plain(text: str, stage: RefinedwebLines) -> tuple[str, str | None]:
    """The text after all corrections and the drop reason."""

    def keep(text: str, wanted: Any) -> str:
        return "\n".join(line for line in text.split("\n") if not line or wanted(line))

    before = words_of(text)
    if (most := stage.max_newlines) is not None:
        text = re.sub(f"\n{{{most + 1},}}", "\n" * most, text)
    if (upper := stage.max_upper_frac) is not None:
        text = keep(text, lambda line: sum(map(str.isupper, line)) / len(line) <= upper).strip()
    if (digit := stage.max_digit_frac) is not None:
        text = keep(text, lambda line: sum(map(str.isdigit, line)) / len(line) <= digit).strip()
    if stage.counters:
        text = keep(text, lambda line: not COUNTER.search(line.lower())).strip()
    if (least := stage.min_line_words) is not None:
        text = keep(text, lambda line: len(line.split()) >= least)
    for phrases, form in ((stage.phrases, r"\s?({})"), (stage.end_phrases, r"\s?({})$"), (stage.start_phrases, r"^({})\s?")):
        if phrases:
            wild = "|".join(re.escape(phrase.lower()).replace(r"\.", ".") for phrase in phrases)
            text = without(text, re.compile(form.format(wild), re.IGNORECASE), stage.max_phrase_line_words).strip()
    text = text.strip()
    share = (before - words_of(text)) / max(before, 1)
    if not text:
        return text, "nothing_left"
    if stage.max_removed_words_frac is None:
        return text, None
    if not before:
        return text, "no_words"
    return text, "too_many_words_removed" if share > stage.max_removed_words_frac else None


def without(text: str, pattern: re.Pattern[str], max_words: int | None) -> str:
    lines = []
    for line in text.split("\n"):
        if max_words is None or len(line.split()) <= max_words:
            left = pattern.sub("", line)
            if line and not left.strip():
                continue
            line = left
        lines.append(line)
    return "\n".join(lines)


PIECES = [
    *"aBCé中 \t\n\n\n\r\x1c\xa0\u2028\x0019²٣İſK\"-_,.", "\n\n\n", " \n", "items in cart", "Items ", "in cart", "read more",
    "...", "sign-in", "Sign-In ", "likes", "1,200 likes", "3k Views", " of ten plain words and more of them in a line ",
]  # fmt: skip
TEXTS = st.lists(st.one_of(st.none(), st.text(), st.lists(st.sampled_from(PIECES), max_size=40).map("".join)), max_size=6)


def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


PHRASES = st.lists(st.sampled_from(["items in cart", "a", "İ", "read more...", "s.s", ".", "sign", "k"]), max_size=2).map(tuple)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "max_newlines": optional(st.integers(1, 3)),
        "max_upper_frac": optional(st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0])),
        "max_digit_frac": optional(st.sampled_from([0.0, 0.5, 0.999999, 1.0])),
        "counters": st.booleans(),
        "min_line_words": optional(st.integers(0, 3)),
        "phrases": PHRASES,
        "end_phrases": PHRASES,
        "start_phrases": PHRASES,
        "max_phrase_line_words": optional(st.integers(0, 10)),
        "max_removed_words_frac": optional(st.sampled_from([0.0, 0.05, 0.5, 1.0])),
    },
)


def results(texts: list[str | None], options: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = curate.apply(
        "refinedweb_lines", pa.table({"text": pa.array(texts, pa.large_string())}), **options
    ).to_pylist()
    return rows


@pytest.mark.slow
@settings(max_examples=200)
@given(TEXTS, OPTIONS)
def test_arbitrary_texts_come_out_as_in_plain_python(texts: list[str | None], options: dict[str, Any]) -> None:
    stage = RefinedwebLines(**options)
    for text, row in zip(texts, results(texts, options), strict=True):
        expected, reason = plain(text or "", stage)
        assert (row["drop"] or {}).get("reason") == reason
        assert row["text"] == (text if reason else expected)
        if row["edits"]:
            assert apply_edits(text or "", row["edits"]) == expected
        assert reason or bool(row["edits"]) == (text != expected)


@settings(max_examples=50)
@given(TEXTS)
def test_the_default_options_are_those_of_dclm(texts: list[str | None]) -> None:
    for text, row in zip(texts, results(texts, {}), strict=True):
        expected, reason = plain(text or "", RefinedwebLines())
        assert ((row["drop"] or {}).get("reason"), row["text"]) == (reason, text if reason else expected)


@pytest.mark.parametrize(
    "text",
    [
        "a" * 5_000_000,
        "a\n" * 200_000,
        "\n" * 500_000 + "a b",
        "a b" + " \n" * 200_000,
        "A B\n" * 100_000 + "c d",
        "!" * 1_000_000 + "1 likes\na b",
        "1" + " " * 1_000_000 + "likes\na b",
        "1" * 1_500_000 + "a\nb c",
        "items in cart " * 3 + "x" * 1_000_000,
    ],
    ids=lambda text: f"{text[:8]!r}*{len(text)}",
)
def test_hostile_texts_come_out_as_in_plain_python(text: str) -> None:
    options: dict[str, Any] = {"max_removed_words_frac": None}
    expected, reason = plain(text, RefinedwebLines(**options))
    row = results(["of it", text, "of it"], options)[1]
    assert ((row["drop"] or {}).get("reason"), row["text"]) == (reason, text if reason else expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"phrases": [" "]}, "a phrase is part of a line and not blank, and this is one: ' '"),
        ({"end_phrases": ["a\nb"]}, "a phrase is part of a line"),
        ({"max_newlines": 0}, "max_newlines: 0"),
        ({"max_upper_frac": 1.5}, "max_upper_frac: 1.5"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        curate.apply("refinedweb_lines", ONE_ROW, **options)


def test_importing_and_building_the_stage_does_not_load_the_compiler() -> None:
    code = (
        "import sys; from curate.stages.filters.refinedweb_lines import RefinedwebLines; RefinedwebLines(); "
        "sys.exit('numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
