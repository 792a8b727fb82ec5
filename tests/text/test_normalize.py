"""Texts are simplified as datatrove 0.10.1 does it, on every code point and on arbitrary text."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.text.dedup.normalize import BLANKED, NEWER_DIGITS, SEPARATORS, simplify
from tests.text.test_words import EVERY_CHAR, column


def plain(text: str | None) -> str | None:
    """The steps of `simplify_text`, one after the other."""
    if text is None:
        return None
    text = text.lower().translate(dict.fromkeys(NEWER_DIGITS, "1"))
    text = re.sub(rf"\d+([{SEPARATORS}]\d+)?", "0", text)
    text = "".join(" " if char in BLANKED else char for char in text)
    text = re.sub(r"\s+", " ", text.strip())
    return "".join(char for char in unicodedata.normalize("NFD", text) if unicodedata.category(char) != "Mn").strip()


def simplified(texts: Sequence[str | None]) -> list[str | None]:
    rows: list[str | None] = simplify(column(texts)).to_pylist()
    return rows


def around(char: str) -> str:
    return f"a{char}1{char}2 {char} b{char}"


@pytest.mark.slow
@pytest.mark.skipif(unicodedata.unidata_version != "14.0.0", reason="recorded with Python 3.11's Unicode")
def test_every_code_point_is_simplified_as_datatrove_did() -> None:
    """The digest is of datatrove 0.10.1's own results, with regex 2026.11.15."""
    results = simplified([around(char) for char in EVERY_CHAR])
    digest = hashlib.sha256("".join(f"{text}\n" for text in results).encode()).hexdigest()
    assert digest == "9a796fd75d0b7a4a1022ee9510672e0bfe5ff5c8534494523cf3ffbc0c8b18d5"


@pytest.mark.slow
def test_every_code_point_is_simplified_as_in_plain_python() -> None:
    texts = [around(char) for char in EVERY_CHAR]
    assert simplified(texts) == [plain(text) for text in texts]


PIECES = st.lists(
    st.sampled_from(
        [
            *"aZ1٣7.,،٫⎖ \t\n'’-…é\u0301\u0344ΣσİKＡ가각\u302e\u1b44\ua9c0\U00016130。\u037e\u2000\x85\xa0",
            "letters",
            "NINE CHARS",
            "12",
        ]
    )
).map("".join)
TEXTS = st.one_of(st.none(), st.text(), PIECES)


@settings(max_examples=1000)
@given(st.lists(TEXTS, max_size=8), st.data())
def test_arbitrary_texts_are_simplified_as_in_plain_python(texts: list[str | None], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(texts)))
    stop = data.draw(st.integers(start, len(texts)))
    assert simplify(column(texts)[start:stop]).to_pylist() == [plain(text) for text in texts[start:stop]]


@pytest.mark.parametrize("text", ["", " ", "\u0301" * 5000, "x" * 50_000, "가" * 20_000, "1." * 10_000, "\u0301 " * 5000])
def test_long_and_monotonous_texts(text: str) -> None:
    assert simplified(["A", text, "B"]) == ["a", plain(text), "b"]


def test_an_empty_column_and_one_of_nulls() -> None:
    assert simplify(pa.array([], pa.string())).to_pylist() == []
    assert simplify(pa.array([None, None], pa.string())).to_pylist() == [None, None]
