"""Paragraphs are counted as in plain Python, on arbitrary text."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.text.rules.c4 import count_paragraphs
from curate.text.unicode.buffers import text_buffers


def counted(texts: pa.Array, min_chars: int) -> list[int]:
    return [int(count) for count in count_paragraphs(text_buffers(texts), min_chars)]


def plain_count(text: str | None, min_chars: int) -> int:
    return sum(len(line) >= min_chars for line in (text or "").split("\n"))


@settings(max_examples=300)
@given(st.lists(st.none() | st.text() | st.text("a中😀\r\n\u2028"), max_size=6), st.integers(0, 6), st.data())
def test_arbitrary_texts_count_as_in_plain_python(texts: list[str | None], min_chars: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(texts)))
    rows = pa.array(texts, pa.large_string())[start:]
    assert counted(rows, min_chars) == [plain_count(text, min_chars) for text in texts[start:]]


@pytest.mark.parametrize("text", ["", "a" * 5_000_000, "a\n" * 1_000_000, "\n" * 1_000_000, "中" * 1_000_000])
def test_hostile_texts_count_as_in_plain_python(text: str) -> None:
    assert counted(pa.array(["a", text, "a"], pa.large_string()), 2) == [0, plain_count(text, 2), 0]


def test_malformed_utf8_reads_nothing_outside_its_row() -> None:
    cut = pa.Array.from_buffers(pa.large_string(), 2, [None, pa.py_buffer(np.array([0, 1, 3])), pa.py_buffer(b"\xf0ab")])
    assert counted(cut, 1) == [1, 1]
