"""Which texts hold a line twice, in one pass over the bytes, so that texts without repeated lines cost no Python.

A line is taken for another when the hashes agree of what `str.strip` leaves of them, in lower case where case is ignored.
Whether it is another is the affair of the stage `line_dedup`: no repeated line is missed, and one in 2**64 pairs is taken
for one wrongly. Lower case is taken code point by code point, with the final sigma as the other one, and 'İ' as the two
that `str.lower` gives it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from numba import njit

from curate.text.unicode.buffers import TextBuffers
from curate.text.unicode.chars import CODE_POINTS, SPACE, char_kinds, lower_chars
from curate.text.unicode.utf8 import decode_char

NEWLINE = 10
DOTTED_I, DOT_ABOVE = (np.uint32(ord(char)) for char in "İ\u0307")
SEED, STEP, MIX = (np.uint64(value) for value in (0xCBF29CE484222325, 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93))


def repeating(texts: TextBuffers, *, ignore_case: bool, min_chars: int) -> npt.NDArray[np.bool_]:
    """Where a line comes twice that has `min_chars` characters or more (at least one), white space at its ends not counted."""
    found = np.zeros(len(texts.starts), np.bool_)
    most = int(_most_lines(texts.data, texts.starts, texts.ends))
    slots = 1 << (2 * most - 1).bit_length()
    keys, owners = np.empty(slots, np.uint64), np.full(slots, -1, np.int64)
    least = max(min_chars, 1)
    _find(texts.data, texts.starts, texts.ends, char_kinds(), _signs(ignore_case), ignore_case, least, keys, owners, found)
    return found


@cache
def _signs(ignore_case: bool) -> npt.NDArray[np.uint32]:
    """What stands for a code point in the hash. Shape (0x110000,), read-only."""
    signs = np.arange(CODE_POINTS, dtype=np.uint32)
    if ignore_case:
        for char, lower in lower_chars().items():
            signs[ord(char)] = ord(lower)
        signs[ord("ς")] = ord("σ")
        signs[int(DOTTED_I)] = ord("i")
    signs.flags.writeable = False
    return signs


@njit(nogil=True, cache=True)
def _most_lines(data, starts, ends):  # type: ignore[no-untyped-def]
    most = 1
    for row in range(len(starts)):
        lines = 1
        for i in range(starts[row], ends[row]):
            lines += data[i] == NEWLINE
        most = max(most, lines)
    return most


@njit(nogil=True, cache=True)
def _find(data, starts, ends, kinds, signs, ignore_case, least, keys, owners, found):  # type: ignore[no-untyped-def]
    """Set `found`. `keys` is an open table of the lines of one row; a slot whose owner is another row is free."""
    base, mask = data.ctypes.data, len(keys) - 1
    for row in range(len(starts)):
        i, end = starts[row], ends[row]
        chars, size, value, key = 0, 0, SEED, SEED  # `size` and `key` as of the last character that is not white space
        while i <= end:
            code, width = np.uint32(NEWLINE), 1  # the end of a text ends its last line
            if i < end:
                code, width = decode_char(base, i, end)
            i += width
            if code != NEWLINE:
                if kinds[code] & SPACE:
                    if chars:
                        chars += 1
                        value = (value ^ np.uint64(code)) * STEP
                        value ^= value >> np.uint64(32)
                    continue
                chars += 1
                value = (value ^ np.uint64(signs[code])) * STEP
                value ^= value >> np.uint64(32)
                if ignore_case and code == DOTTED_I:
                    value = (value ^ np.uint64(DOT_ABOVE)) * STEP
                    value ^= value >> np.uint64(32)
                size, key = chars, value
                continue
            if size >= least:
                key *= MIX
                slot = np.int64(key >> np.uint64(20)) & mask
                while owners[slot] == row and keys[slot] != key:
                    slot = (slot + 1) & mask
                found[row] |= owners[slot] == row
                owners[slot], keys[slot] = row, key
            chars, size, value, key = 0, 0, SEED, SEED
