"""Counts what FineWeb's quality rules ask of the lines of a text: how they end, how long they are, which come again.

The definitions are those of the stage `fineweb_quality`. Lines that come again are found exactly: by a hash table of the lines
of one text, and by their bytes where hashes agree. The table serves all texts of a call; a slot that another text has filled
counts as free. Malformed UTF-8 gives some counts and reads nothing outside its row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from curate.text.unicode.buffers import TextBuffers
from curate.text.unicode.chars import SPACE, char_kinds
from curate.text.unicode.hashing import hash_bytes, load_u64, trailing_zeros
from curate.text.unicode.utf8 import decode_char, decode_last

COUNTS = ("lines", "ended_lines", "short_lines", "repeated_chars", "chars", "newlines")
"""`repeated_chars` are those of the second and later copies of a line, `chars` those of all lines, `newlines` every "\\n"."""
LINES, ENDED, SHORT, REPEATED_CHARS, CHARS, NEWLINES = range(6)

BLANK, END, PASSED = 1, 2, 4
BLANKS, HIGH = np.uint64(0x2020202020202020), np.uint64(0x8080808080808080)
NEWLINE = 0x0A
NO, HERE, AFTER_C2, AFTER_E2 = 0, 1, 2, 3
"""What a byte says of a line break: none; here; where 0x85 follows; where 0x80 and then 0xA8 or 0xA9 follow."""


@dataclass(frozen=True)
class LineRules:
    """What a line is, when it is ended, and when it is short."""

    ends: str
    """Characters in which a line is ended."""
    short_chars: int
    splitlines: bool = False
    """Lines are cut where `str.splitlines` does; by default where `str.split("\\n")` does."""
    strip: bool = False
    """White space at both ends is no part of a line."""
    blank_lines: bool = False
    """Lines of nothing but white space count. They are never repeated."""
    passed: str = ""
    """Characters that may stand between the end and the line break."""


def line_counter(rules: LineRules) -> Callable[[TextBuffers], npt.NDArray[np.int64]]:
    """A function from texts to an array of shape (rows, len(COUNTS))."""
    kinds = (char_kinds() & SPACE != 0).astype(np.uint8) * np.uint8(BLANK)
    kinds[[ord(char) for char in rules.ends]] |= END
    kinds[[ord(char) for char in rules.passed]] |= PASSED
    cuts = np.zeros(256, np.uint8)
    cuts[NEWLINE] = HERE
    if rules.splitlines:
        cuts[list(b"\r\v\f\x1c\x1d\x1e")] = HERE
        cuts[[0xC2, 0xE2]] = AFTER_C2, AFTER_E2

    def counter(texts: TextBuffers) -> npt.NDArray[np.int64]:
        counts = np.zeros((len(texts.starts), len(COUNTS)), np.int64)
        slots = 2 << int(_most_breaks(texts.data, texts.starts, texts.ends, rules.splitlines) + 1).bit_length()
        table = np.zeros((slots, 4), np.int64)
        flags = (np.uint64(HIGH if rules.splitlines else 0), rules.strip, rules.blank_lines, rules.short_chars)
        data = texts.data.view(np.int8)
        _count(texts.data, data, texts.data.ctypes.data, texts.starts, texts.ends, cuts, kinds, *flags, table, counts)
        return counts

    return counter


@njit(nogil=True, cache=True)
def _most_breaks(data, starts, ends, splitlines):  # type: ignore[no-untyped-def]
    """At least as many as the line breaks of the text that has most."""
    most = 0
    for row in range(len(starts)):
        breaks = 0
        if splitlines:
            for i in range(starts[row], ends[row]):
                breaks += (data[i] < 0x20) | (data[i] == 0xC2) | (data[i] == 0xE2)
        else:
            for i in range(starts[row], ends[row]):
                breaks += data[i] == NEWLINE
        most = max(most, breaks)
    return most


ROW, HASH, START, SIZE = 0, 1, 2, 3
"""A slot of the table: the row that filled it, plus one, and its line."""


@njit(nogil=True, cache=True)
def _count(  # type: ignore[no-untyped-def]
    data, signed, base, starts, ends, cuts, kinds, beyond_ascii, strip, blank_lines, short_chars, table, counts
):
    """Fill one row of `counts` per text. `signed`: the same bytes, of which those below -64 go on with a character."""
    slot_mask = len(table) - 1
    for row in range(len(starts)):
        i, line, end, count = starts[row], starts[row], ends[row], counts[row]
        while i <= end:
            while i + 8 <= end:  # on to the next control character, or byte beyond ASCII where that may be a line break
                eight = load_u64(base + i)
                found = ((eight - BLANKS) & ~eight & HIGH) | (eight & beyond_ascii)
                if found:
                    i += trailing_zeros(found) >> 3
                    break
                i += 8
            width = 1  # of the line break; the end of a text ends its last line
            if i < end:
                cut = cuts[data[i]]
                if cut == NO:
                    i += 1
                    continue
                if cut == AFTER_C2:
                    width = 2 if i + 1 < end and data[i + 1] == 0x85 else 0
                elif cut == AFTER_E2:
                    width = 3 if i + 2 < end and data[i + 1] == 0x80 and data[i + 2] | 1 == 0xA9 else 0
                if not width:
                    i += 1
                    continue
                count[NEWLINES] += data[i] == NEWLINE
            first, last, begin = line, i, line  # `begin`: of the first character that is no white space
            line = i + width
            i = line
            while begin < last:
                code, size = decode_char(base, begin, last)
                if not kinds[code] & BLANK:
                    break
                begin += size
            blank = begin >= last
            ended, tail = False, last
            if strip:
                first, last = begin, max(begin, last)
            trim = strip
            while tail > first:  # backwards over white space, then over what may follow the end
                code, at = decode_last(base, first, tail)
                kind = kinds[code]
                if trim and kind & BLANK:
                    last = at
                else:
                    trim = False
                    if kind & END:
                        ended = True
                        break
                    if not kind & PASSED:
                        break
                tail = at
            chars = 0
            for k in range(first, last):
                chars += signed[k] >= -64
            count[CHARS] += chars
            if not blank or blank_lines:
                count[LINES] += 1
                count[ENDED] += ended
                count[SHORT] += chars <= short_chars
            if blank:
                continue
            size = last - first
            value = np.int64(hash_bytes(base, first, last, len(data)))
            slot = value & slot_mask
            while table[slot, ROW] == row + 1:
                if table[slot, HASH] == value and table[slot, SIZE] == size:
                    other, k = table[slot, START], 0
                    while k < size and data[other + k] == data[first + k]:
                        k += 1
                    if k == size:
                        count[REPEATED_CHARS] += chars
                        break
                slot = (slot + 1) & slot_mask
            if table[slot, ROW] != row + 1:
                table[slot, ROW], table[slot, HASH], table[slot, START], table[slot, SIZE] = row + 1, value, first, size
