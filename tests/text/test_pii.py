"""The kernel of `pii` notes the places that its definition in plain Python notes; check digits are those of the standards."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.text.rules.pii import Finder, luhn
from curate.text.rules.pii_candidates import (
    ACCOUNT,
    AT,
    BLANKS,
    DASHES,
    GROUPS,
    MIN_DIGITS,
    NUMBER,
    PREFIXES,
    TOKEN,
    place_finder,
)
from curate.text.unicode.buffers import TextBuffers, text_buffers

FIND = place_finder()
JOINED = f"0-9{re.escape(BLANKS + DASHES)}.()/+"
RUN = re.compile(rf"[0-9+(](?:(?!  )[{JOINED}])*")
HEXES = re.compile(r"[0-9A-Fa-f:.]+")


def plain_places(text: str) -> set[tuple[int, int, int]]:
    """What may stand where, by regular expressions."""
    places = {(AT, match.start(), match.end()) for match in re.finditer(r"(?<=[\w+-])@(?=\w)", text)}
    places |= {
        (TOKEN, *match.span())
        for match in re.finditer(r"(?<![A-Za-z0-9_-])(?:" + "|".join(map(re.escape, PREFIXES)) + ")", text)
    }
    places |= {(ACCOUNT, *match.span()) for match in re.finditer(r"(?<![A-Za-z0-9_-])[A-Z]{2}[0-9]{2}", text)}
    for match in HEXES.finditer(text):
        if len(match[0]) > 3 and ("::" in match[0] or match[0].count(":") >= 6):
            places.add((GROUPS, *match.span()))
    at = 0
    for chunk in re.split(rf"([^{JOINED}]|(?<= ) )", text):
        if found := re.search(r"[0-9+(]", chunk):
            run = chunk[found.start() :]
            dots = len(re.findall(r"(?<=[0-9])\.", run))
            digits = len(re.findall("[0-9]", run))
            if digits >= MIN_DIGITS or (dots >= 3 and digits >= 4):
                places.add((NUMBER, at + found.start(), at + len(chunk)))
        at += len(chunk)
    return places


PIECES = [
    *"01a5Fé中@.:-+() /<_ \u00a0\u2013\n",
    "  ",
    "::",
    "1.2.3.4",
    "1234567",
    "AB12",
    "sk-",
    "eyJ",
    "-----BEGIN ",
    "ghp_",
    "a@b",
]
TEXTS = st.lists(st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=20).map("".join)), max_size=5)


@settings(max_examples=400)
@given(TEXTS)
def test_the_kernel_notes_the_places_of_its_definition(texts: list[str]) -> None:
    found: list[set[tuple[int, int, int]]] = [set() for _ in texts]
    for row, what, start, end in FIND(text_buffers(pa.array(texts, pa.large_string()))).tolist():
        found[row].add((what, start, end))
    assert found == [plain_places(text) for text in texts]


@given(st.binary(max_size=60))
def test_malformed_bytes_read_nothing_outside_their_row(data: bytes) -> None:
    def places(before: bytes, behind: bytes) -> list[list[int]]:
        whole = np.frombuffer(before + data + behind, np.uint8)
        bounds = np.array([len(before)]), np.array([len(before) + len(data)])
        for array in (whole, *bounds):
            array.flags.writeable = False
        found: list[list[int]] = FIND(TextBuffers(whole, *bounds)).tolist()
        return found

    assert places(b"", b"") == places(b"a@b.c 1234567 ", b"7654321@x.y::1")


def test_more_places_than_expected_are_all_found() -> None:
    assert len(FIND(text_buffers(pa.array(["a@b " * 5000], pa.large_string())))) == 5000


@pytest.mark.parametrize(("digits", "good"), [("4111111111111111", True), ("4111111111111112", False), ("79927398713", True)])
def test_the_check_digit_of_a_card_is_that_of_the_standard(digits: str, good: bool) -> None:
    assert luhn(digits) is good


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("212-555-2368@posteo-mail.de", [("email", "212-555-2368@posteo-mail.de")]),
        ("AKIAIOSFODNN7EXAMPLE@posteo-mail.de", [("key", "AKIAIOSFODNN7EXAMPLE")]),
        ("4111111111111111@posteo-mail.de", [("email", "4111111111111111@posteo-mail.de")]),
        ("anna@64.6.64.6", [("ip", "64.6.64.6")]),
        ("tel 4111 1111 1111 1111", [("credit_card", "4111 1111 1111 1111")]),
        ("DE89 3704 0044 0532 0130 00", [("iban", "DE89 3704 0044 0532 0130 00")]),
    ],
)
def test_the_kind_that_comes_first_in_the_order_wins(text: str, expected: list[tuple[str, str]]) -> None:
    places = FIND(text_buffers(pa.array([text], pa.large_string()))).tolist()
    assert [(match.kind, text[match.start : match.end]) for match in Finder()(text, places)] == expected
