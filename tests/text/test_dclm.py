"""The kernel of `dclm_page` agrees with what it means in plain Python, on every code point and on arbitrary text."""

import re
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.text.rules.dclm import COUNTS, page_counts
from curate.text.unicode.buffers import text_buffers

CHARS = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]


def counts(texts: pa.Array) -> list[dict[str, int]]:
    return [dict(zip(COUNTS, row, strict=True)) for row in page_counts(text_buffers(texts)).tolist()]


def plain_counts(text: str | None) -> dict[str, int]:
    """The definitions, word for word."""
    text = text or ""
    lines = [len(line) for line in text.splitlines()]
    return {
        "chars": len(text),
        "words": sum(bool(token.strip()) for token in re.split("[ \t\n\v\f\r\0]+", text)) + text.count("\n"),
        "lines": sum(bool(piece.strip()) for piece in text.split("\n")),
        "paragraphs": sum(bool(piece.strip()) for piece in text.split("\n\n")),
        "alnum_chars": sum(map(str.isalnum, text)),
        "max_line_chars": max(lines, default=0),
        "all_lines": len(lines),
        "line_chars": sum(lines),
    }


def column(texts: list[str | None]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def test_every_code_point_counts_as_in_plain_python() -> None:
    texts = [f"a{char}b" for char in CHARS]
    rows = page_counts(text_buffers(pa.array(texts, pa.large_string())))
    found = dict(zip(COUNTS, rows.T.tolist(), strict=True))
    assert found["alnum_chars"] == [2 + char.isalnum() for char in CHARS]
    assert found["all_lines"] == [len(text.splitlines()) for text in texts]
    assert found["max_line_chars"] == [max(map(len, text.splitlines())) for text in texts]
    assert found["words"] == [3 if char == "\n" else 1 + (char in " \t\v\f\r\0") for char in CHARS]
    assert found["lines"] == [1 + (char == "\n") for char in CHARS]


def test_blanks_of_every_kind_around_line_ends_count_as_in_plain_python() -> None:
    blanks = [char for char in CHARS if char.isspace()]
    texts: list[str | None] = [f"\r{one}\n{two}a{one}" for one in blanks for two in blanks]
    assert counts(column(texts)) == [plain_counts(text) for text in texts]


TEXTS = st.lists(st.none() | st.text() | st.text("ab中 \n\n\n\r\x0b\x1c\x85\xa0\u2028\0."), max_size=8)


@settings(max_examples=200)
@given(TEXTS, st.data())
def test_arbitrary_texts_count_as_in_plain_python(texts: list[str | None], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(texts)))
    stop = data.draw(st.integers(start, len(texts)))
    assert counts(column(texts)[start:stop]) == [plain_counts(text) for text in texts[start:stop]]


@pytest.mark.parametrize(
    "text",
    ["a" * 5_000_000, "中" * 1_000_000, "\n" * 1_000_001, "a\r\n" * 300_000, " \xa0" * 500_000, "a\n\n" * 100_000 + "\n"],
    ids=lambda text: f"{text[:6]!r}*{len(text)}",
)
def test_hostile_texts_count_as_in_plain_python(text: str) -> None:
    assert counts(column(["of", text, None])) == [plain_counts("of"), plain_counts(text), plain_counts(None)]


def test_malformed_utf8_reads_nothing_outside_its_row() -> None:
    noise = np.random.default_rng(0).integers(128, 256, 4096, np.uint8).tobytes()
    buffers = [None, pa.py_buffer(np.arange(0, 4097, 4)), pa.py_buffer(noise)]
    broken = pa.Array.from_buffers(pa.large_string(), 1024, buffers)
    assert all(row["chars"] <= 4 for row in counts(broken))
    cut = pa.Array.from_buffers(pa.large_string(), 2, [None, pa.py_buffer(np.array([0, 1, 4])), pa.py_buffer(b"\xf0abc")])
    assert counts(cut)[1] == plain_counts("abc")
