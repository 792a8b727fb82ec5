"""Characters are read as Python reads them, and malformed bytes do no harm."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numba import njit

from curate.text.unicode.chars import CODE_POINTS, every_code_point
from curate.text.unicode.utf8 import decode_char, decode_last


@njit
def _decode_all(data, starts, end, codes, widths):  # type: ignore[no-untyped-def]
    for k in range(len(starts)):
        codes[k], widths[k] = decode_char(data.ctypes.data, starts[k], end)


def decode_at(data: bytes, starts: Any, end: int) -> tuple[list[int], list[int]]:
    codes, widths = np.zeros(len(starts), np.int64), np.zeros(len(starts), np.int64)
    _decode_all(np.frombuffer(data, np.uint8), np.asarray(starts, np.int64), end, codes, widths)
    return codes.tolist(), widths.tolist()


def test_every_code_point_is_read_as_it_was_written() -> None:
    chars = [char for char in every_code_point() if not 0xD800 <= ord(char) < 0xE000]
    sizes = [len(char.encode()) for char in chars]
    codes, widths = decode_at("".join(chars).encode(), np.cumsum([0, *sizes[:-1]]), sum(sizes))
    assert codes == [ord(char) for char in chars] and widths == sizes


@given(st.binary(min_size=1, max_size=12), st.data())
def test_malformed_bytes_give_some_code_point_and_end_where_they_are_told(data: bytes, draw: st.DataObject) -> None:
    start = draw.draw(st.integers(0, len(data) - 1))
    end = draw.draw(st.integers(start + 1, len(data)))
    (code,), (width,) = decode_at(data, [start], end)
    assert 0 <= code < CODE_POINTS and 1 <= width <= end - start


def test_four_bytes_beyond_unicode_are_no_place_in_a_table() -> None:
    assert decode_at(b"\xf7\xbf\xbf\xbf", [0], 4) == ([CODE_POINTS - 1], [4])


@njit
def _decode_last(data, start, end):  # type: ignore[no-untyped-def]
    return decode_last(data.ctypes.data, start, end)


@given(st.text(min_size=1, max_size=5))
def test_the_last_character_is_read_from_the_end(text: str) -> None:
    data = np.frombuffer(text.encode(), np.uint8)
    assert _decode_last(data, 0, len(data)) == (ord(text[-1]), len(text[:-1].encode()))


@given(st.binary(min_size=1, max_size=12), st.data())
def test_malformed_bytes_at_the_end_give_some_code_point_behind_the_start(data: bytes, draw: st.DataObject) -> None:
    start = draw.draw(st.integers(0, len(data) - 1))
    end = draw.draw(st.integers(start + 1, len(data)))
    code, at = _decode_last(np.frombuffer(data, np.uint8), start, end)
    assert 0 <= code < CODE_POINTS and start <= at < end
