"""The kernel of `line_dedup` finds the texts that hold a line twice, on every code point and on arbitrary text."""

import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.text.rules.repeated_lines import repeating
from curate.text.unicode.buffers import text_buffers

CHARS = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000 and code != 10]


def found(texts: pa.Array, ignore_case: bool = True, min_chars: int = 0) -> list[bool]:
    return [bool(value) for value in repeating(text_buffers(texts), ignore_case=ignore_case, min_chars=min_chars)]


def plain(text: str | None, ignore_case: bool, min_chars: int) -> bool:
    """The definition; both small sigmas are one, which the stage tells apart."""
    lines = [line.strip() for line in (text or "").split("\n")]
    keys = [line.lower() if ignore_case else line for line in lines if line and len(line) >= min_chars]
    keys = [key.replace("ς", "σ") for key in keys] if ignore_case else keys
    return len(set(keys)) < len(keys)


def column(texts: list[str | None]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def test_every_code_point_is_the_same_line_as_its_lower_case() -> None:
    texts: list[str | None] = [f"{char}x\n{char.lower()}x" for char in CHARS]
    assert found(column(texts)) == [True] * len(CHARS)


def test_every_code_point_is_told_from_its_lower_case_where_case_matters() -> None:
    texts: list[str | None] = [f"x{char}x\nx{char.lower()}x" for char in CHARS]
    assert found(column(texts), ignore_case=False) == [char == char.lower() for char in CHARS]


def test_every_code_point_is_stripped_where_python_strips_it() -> None:
    texts: list[str | None] = [f"{char}ab{char}\nab" for char in CHARS]
    assert found(column(texts)) == [char.isspace() for char in CHARS]


TEXTS = st.lists(st.none() | st.text() | st.text("aAbİi\u0307ΣσςO \n\t\r\xa0中"), max_size=6)


@settings(max_examples=200)
@given(TEXTS, st.booleans(), st.integers(0, 3), st.data())
def test_arbitrary_texts_are_found_as_in_plain_python(
    texts: list[str | None], ignore_case: bool, min_chars: int, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(texts)))
    assert found(column(texts)[start:], ignore_case, min_chars) == [
        plain(text, ignore_case, min_chars) for text in texts[start:]
    ]


@pytest.mark.parametrize(
    "text",
    ["", "a" * 5_000_000, "\n" * 1_000_000, "\n".join(map(str, range(300_000))), "a\n" * 1_000_000, " " * 1_000_000 + "a\na"],
    ids=lambda text: f"{text[:6]!r}*{len(text)}",
)
def test_hostile_texts_are_found_as_in_plain_python(text: str) -> None:
    assert found(column(["a\na", text, "b"])) == [True, plain(text, True, 0), False]


def test_malformed_utf8_reads_nothing_outside_its_row() -> None:
    cut = pa.Array.from_buffers(pa.large_string(), 2, [None, pa.py_buffer(np.array([0, 2, 5])), pa.py_buffer(b"\n\xf0a\na")])
    assert found(cut) == [False, True]
