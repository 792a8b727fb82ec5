"""Repeated lines and paragraphs are counted as each implementation says, in plain Python."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import get_args

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.text.rules.repetition_lines import Cutting, RepeatCounter
from curate.text.unicode.buffers import text_buffers


def counted(texts: Sequence[str | None], cutting: Cutting) -> list[list[list[int]]]:
    rows: list[list[list[int]]] = RepeatCounter(cutting)(text_buffers(pa.array(texts, pa.large_string()))).tolist()
    return rows


def plain(text: str | None, cutting: Cutting) -> list[list[int]]:
    lines, paragraphs = plain_units(text or "", cutting)
    return [plain_counts(lines), plain_counts(paragraphs)]


def plain_units(text: str, cutting: Cutting) -> tuple[list[str], list[str]]:
    if cutting == "all":
        return text.split("\n"), []
    if cutting == "runs":
        return re.split("\n+", text), re.split("\n{2,}", text.strip())
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if cutting == "stripped":
        return lines, [part.strip() for part in text.split("\n\n") if part.strip()]
    return lines, [part.strip() for part in re.split(r"\n(?:\s*\n)+", text.strip()) if part.strip()]


def plain_counts(units: list[str]) -> list[int]:
    counts = Counter(units)
    copies = {unit: count for unit, count in counts.items() if count > 1}
    return [
        len(units),
        sum(map(len, units)),
        sum(count - 1 for count in copies.values()),
        sum(len(unit) * (count - 1) for unit, count in copies.items()),
        sum(copies.values()),
        sum(len(unit) * count for unit, count in copies.items()),
    ]


PIECES = st.lists(st.sampled_from(["a", "b", "中", "ab", "\n", "\n\n", "\n\n\n", " ", "\t", "\r", "\x85", "\u2028", "\u3000"]))
TEXTS = st.one_of(st.none(), st.text(), PIECES.map("".join))


@pytest.mark.parametrize("cutting", get_args(Cutting))
@settings(max_examples=400)
@given(st.lists(TEXTS, max_size=5))
def test_arbitrary_texts_count_as_in_plain_python(cutting: Cutting, texts: list[str | None]) -> None:
    assert counted(texts, cutting) == [plain(text, cutting) for text in texts]


@pytest.mark.parametrize("cutting", get_args(Cutting))
@pytest.mark.parametrize(
    "text",
    ["", "\n", " \n ", "\n" * 5000, "a\n" * 200_000, "a\n\n" * 3000, "\n".join(map(str, range(50_000))), "中" * 1_000_000],
    ids=lambda text: repr(text[:6]) + f"*{len(text)}",
)
def test_long_and_monotonous_texts_count_as_in_plain_python(cutting: Cutting, text: str) -> None:
    assert counted(["a\nb\na", text, "b"], cutting) == [plain(one, cutting) for one in ("a\nb\na", text, "b")]
