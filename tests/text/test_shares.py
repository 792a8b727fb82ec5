"""The kernel of shares agrees with what it means in plain Python, on every code point and on arbitrary text."""

import re
import sys
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.text.rules.char_shares import COUNTS, LOREM_IPSUM, POLICIES, boilerplate_share, count_shares, share
from curate.text.unicode.buffers import text_buffers

CHARS = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
URL = re.compile(r"https?://(?:[a-zA-Z0-9$\-_@.&+!*(),]|%[0-9a-fA-F]{2})+")
"""NeMo Curator's expression, its classes merged."""


def counts(texts: pa.Array) -> list[dict[str, int]]:
    return [dict(zip(COUNTS, row, strict=True)) for row in count_shares(text_buffers(texts)).tolist()]


def plain_counts(text: str | None) -> dict[str, int]:
    """The definitions, word for word."""
    text = text or ""
    paragraphs = [paragraph.strip().lower() for paragraph in text.split("\n\n")]
    return {
        "chars": len(text),
        "digits": sum(char in "0123456789" for char in text),
        "spaces": sum(char in "\t\n\r\b " for char in text),
        "brackets": sum(char in "{}[]()⟨⟩" for char in text),
        "url_chars": sum(len(url) for url in URL.findall(text)),
        "paragraphs": len(paragraphs),
        "policy_paragraphs": sum(any(phrase in paragraph for phrase in POLICIES) for paragraph in paragraphs),
        "lorem_ipsums": text.lower().count(LOREM_IPSUM),
    }


def counted(texts: Sequence[str], name: str) -> list[int]:
    return [int(value) for value in count_shares(text_buffers(column(texts)))[:, COUNTS.index(name)]]


def column(texts: Sequence[str | None]) -> pa.Array:
    return pa.array(texts, pa.large_string())


@pytest.mark.slow
def test_every_code_point_is_counted_as_in_plain_python() -> None:
    for name, chars in (("digits", "0123456789"), ("spaces", "\t\n\r\b "), ("brackets", "{}[]()⟨⟩")):
        assert counted(CHARS, name) == [char in chars for char in CHARS], name
    assert set(counted(CHARS, "chars")) == set(counted(CHARS, "paragraphs")) == {1}
    assert not any(map(any, (counted(CHARS, name) for name in ("url_chars", "policy_paragraphs", "lorem_ipsums"))))


def test_every_code_point_ends_or_continues_a_url_as_the_expression_says() -> None:
    texts = [f"http://a{char}b" for char in CHARS]
    assert counted(texts, "url_chars") == [len(URL.findall(text)[0]) for text in texts]


@pytest.mark.slow
def test_every_code_point_stands_for_a_letter_of_a_phrase_as_str_lower_says() -> None:
    for before, after in (("coo", "ie policy"), ("pr", "vacy policy")):
        found = counted([before + char + after for char in CHARS], "policy_paragraphs")
        whole = {"cookie policy", "privacy policy"}
        assert found == [before + char.lower() + after in whole for char in CHARS]


def test_only_the_kelvin_sign_needs_str_lower() -> None:
    """U+0130 becomes two code points, the second of which is in no phrase, and no phrase ends in an i."""
    ascii_below = {char for char in CHARS[128:] if any(part.isascii() for part in char.lower())}
    assert ascii_below == {"\u212a", "\u0130"}
    assert not any(phrase.endswith("i") for phrase in (*POLICIES, LOREM_IPSUM))


def test_no_phrase_holds_another_one() -> None:
    assert [(a, b) for a in POLICIES for b in POLICIES if a != b and a in b] == []


PIECES = [
    *"aZ09%/:s. \n\n\n\t\b\r()[]{}⟨⟩é中😀\xa0\u3000K\u212aİ",
    "http",
    "https://",
    "http://",
    "%4f",
    "%zz",
    "\n\n",
    "lorem ipsum",
]
PIECES += [*POLICIES, "PRIVACY ", "policy", "Terms of Use", "coo\u212aie policy", "use cookie", "LOREM", " IPSUM"]
TELLING = st.lists(st.sampled_from(PIECES)).map("".join)


@settings(max_examples=400)
@given(st.lists(st.one_of(st.none(), st.text(), TELLING), max_size=8), st.data())
def test_arbitrary_texts_count_as_in_plain_python(texts: list[str | None], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(texts)))
    stop = data.draw(st.integers(start, len(texts)))
    assert counts(column(texts)[start:stop]) == [plain_counts(text) for text in texts[start:stop]]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "\n" * 100_001,
        "a" * 5_000_000,
        "1" * 65_535,
        "1" * 65_536,
        "x" * 65_530 + "http://example.org/ and a cookie policy",
        "x" * 65_527 + "\n\nprivacy policy",
        "中" * 1_000_000,
        "a\n" * 500_000,
        "http://" * 300_000,
        "https://a" * 300_000,
        "http://%4" * 100_000,
        "http://a%41%4",
        "ttp://a",
        "://a",
        "s://a",
        "https:/",
        "http://",
        "uses cookies" * 100_000,
        "cookie" * 200_000,
        "privacy " * 200_000,
        "⟨" * 100_000,
        "\x00",
        "\ufeff1",
    ],
    ids=lambda text: repr(text[:8]) + f"*{len(text)}",
)
def test_hostile_texts_count_as_in_plain_python(text: str) -> None:
    assert counts(column(["http", text, "policy"])) == [plain_counts("http"), plain_counts(text), plain_counts("policy")]


def test_nothing_is_matched_across_rows() -> None:
    assert counts(column(["a", "http:", "//a", "cookie ", "policy", "\n", "\n"])) == [
        plain_counts(text) for text in ("a", "http:", "//a", "cookie ", "policy", "\n", "\n")
    ]


def test_an_empty_text_is_all_of_everything_but_boilerplate() -> None:
    measured = count_shares(text_buffers(column(["", None, "1 a"])))
    assert share(measured, "digits").tolist() == [1.0, 1.0, 1 / 3]
    assert boilerplate_share(measured).tolist() == [0.0, 0.0, 0.0]


def test_lorem_ipsum_makes_the_whole_text_boilerplate() -> None:
    measured = count_shares(text_buffers(column(["a\n\nb\n\nsome Lorem Ipsum", "a\n\nTerms of Use"])))
    assert boilerplate_share(measured).tolist() == [1.0, 0.5]


def test_a_slice_counts_its_own_rows_only() -> None:
    texts = ["http://a.b", None, "1 (2)", "", "terms of use"]
    whole = column(texts)
    assert counts(whole[2:]) == [plain_counts(text) for text in texts[2:]]
    assert counts(whole[1:4][1:]) == [plain_counts(text) for text in texts[2:4]]
    assert counts(whole[5:]) == []


def test_an_array_of_no_rows_and_one_of_nulls_have_no_characters() -> None:
    assert counts(pa.array([], pa.large_string())) == []
    assert counts(pa.nulls(2, pa.large_string())) == [plain_counts(None)] * 2


def test_the_bytes_behind_a_null_row_are_not_read() -> None:
    """Arrow leaves open what stands there."""
    _, offsets, data = column(["http://a", "1"]).buffers()
    texts = pa.Array.from_buffers(pa.large_string(), 2, [pa.py_buffer(b"\x02"), offsets, data])
    assert counts(texts) == [plain_counts(None), plain_counts("1")]


def test_malformed_utf8_reads_nothing_outside_its_row() -> None:
    noise = np.random.default_rng(0).integers(128, 256, 4096, np.uint8).tobytes()
    buffers = [None, pa.py_buffer(np.arange(0, 4097, 4)), pa.py_buffer(noise)]
    broken = pa.Array.from_buffers(pa.large_string(), 1024, buffers)
    assert all(row["chars"] <= 4 for row in counts(broken))
    cut = pa.Array.from_buffers(
        pa.large_string(), 3, [None, pa.py_buffer(np.array([0, 2, 4, 7])), pa.py_buffer(b"\xe2\x9f\xa8\xe2\x84\xaa1")]
    )
    assert counts(cut)[2]["digits"] == 1 and counts(cut)[0]["brackets"] == 0
