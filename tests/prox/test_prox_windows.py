"""Windows of lines: packed as the published chunker packs them, numbered, and put together again."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.prox.windows import Window, numbered, pack, without_numbers


@pytest.mark.parametrize(
    ("why", "counts", "windows"),
    [
        ("three lines of 400 fit", [400] * 10, [Window(0, 3), Window(3, 6), Window(6, 9), Window(9, 10)]),
        ("a line that is too long is alone", [400] * 4 + [1600] + [400] * 5,
         [Window(0, 3), Window(3, 4), Window(4, 5, skipped=True), Window(5, 8), Window(8, 10)]),
        ("1500 fits exactly", [500, 500, 500, 1], [Window(0, 3), Window(3, 4)]),
        ("one line of 1500", [1500, 1500], [Window(0, 1), Window(1, 2)]),
        ("one line too many", [1501], [Window(0, 1, skipped=True)]),
        ("first and last are too long", [1501, 0, 1501], [Window(0, 1, True), Window(1, 2), Window(2, 3, True)]),
        ("too long twice", [1501, 1501], [Window(0, 1, True), Window(1, 2, True)]),
        ("nothing", [], []),
    ],
)  # fmt: skip
def test_lines_are_packed(why: str, counts: list[int], windows: list[Window]) -> None:
    assert pack(counts, 1500) == windows


@given(st.lists(st.integers(0, 40)), st.integers(1, 60))
def test_every_line_is_in_one_window_and_every_window_is_full(counts: list[int], limit: int) -> None:
    windows = pack(counts, limit)
    assert [line for window in windows for line in range(window.first, window.stop)] == list(range(len(counts)))
    for window in windows:
        assert window.skipped == (sum(counts[window.first : window.stop]) > limit)
        assert not window.skipped or window.stop == window.first + 1
    for before, after in pairwise(windows):
        assert before.skipped or sum(counts[before.first : after.first + 1]) > limit


def test_a_thousand_documents_are_put_together_again() -> None:
    """Lines are counted in words, and their number is one."""
    rng = random.Random(0)
    skipped = 0
    for _ in range(1000):
        lines = [" ".join(["word"] * rng.choice([0, 1, 5, rng.randrange(201)])) for _ in range(rng.randrange(301))]
        text = "\n".join(lines) + rng.choice(["", "\n"])
        lines = text.split("\n")
        counts = [line.count(" ") + 1 for line in lines]
        windows = pack(counts, 150)
        chunks = [numbered(lines[window.first : window.stop], window.first) for window in windows]
        assert without_numbers("\n".join(chunks)) == text
        sizes = [sum(counts[window.first : window.stop]) for window in windows if not window.skipped]
        assert max(sizes, default=0) <= 150
        skipped += sum(window.skipped for window in windows)
    assert skipped > 1000


def test_numbers_have_three_digits_or_more_and_no_blank_behind() -> None:
    assert numbered(["a", " b", ""], 998) == "[998]a\n[999] b\n[1000]"
    assert numbered(["a"], 7) == "[007]a"


def test_only_the_number_of_a_line_is_taken_from_it() -> None:
    text = "[000][001] see [002]\n[001]\n[12]x\nplain"
    assert without_numbers(text) == "[001] see [002]\n\n[12]x\nplain"


@given(st.lists(st.text() | st.text("[012]\r\v\u2028"), min_size=1), st.integers(0, 2000))
def test_numbers_are_taken_off_again(lines: list[str], first: int) -> None:
    lines = "\n".join(lines).split("\n")
    assert without_numbers(numbered(lines, first)) == "\n".join(lines)
