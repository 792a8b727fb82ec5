"""Decodes UTF-8 in kernels, from addresses: `base` is `array.ctypes.data` of an array that outlives the call.

Malformed bytes give some code point and read nothing outside the bytes that are given.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from curate.text.unicode.chars import CODE_POINTS
from curate.text.unicode.hashing import load_byte

LAST_CODE_POINT = np.uint32(CODE_POINTS - 1)


@njit(inline="always")
def decode_char(base, i, end):  # type: ignore[no-untyped-def]
    """The code point that begins at address base + i, and how many bytes it has, none of them at base + end or behind."""
    code, width = np.uint32(load_byte(base + i)), 1
    if code >= 0x80:
        width = min(4 if code >= 0xF0 else 3 if code >= 0xE0 else 2, end - i)
        code &= np.uint32(0x7F >> width)
        for k in range(i + 1, i + width):
            code = np.uint32(code << 6 | np.uint32(load_byte(base + k)) & 0x3F)
        code = min(code, LAST_CODE_POINT)
    return code, width


@njit(inline="always")
def decode_last(base, start, end):  # type: ignore[no-untyped-def]
    """The last code point of the bytes from base + start to base + end (exclusive, not empty), and where it begins."""
    at = end - 1
    while at > start and load_byte(base + at) & np.uint64(0xC0) == np.uint64(0x80):
        at -= 1
    code, _ = decode_char(base, at, end)
    return code, at
