"""How many lines and paragraphs of a text are copies of another, and how many characters they have.

What a line and a paragraph is differs from one implementation to the next; `Cutting` names the ways. Lines are told apart by
64-bit hashes of their bytes.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from numba import njit

from curate.text.unicode.buffers import TextBuffers
from curate.text.unicode.chars import SPACE, char_kinds
from curate.text.unicode.hashing import hash_bytes, load_byte, load_u64, trailing_zeros
from curate.text.unicode.utf8 import decode_char, decode_last

Cutting = Literal["runs", "stripped", "blank_lines", "all"]
"""Lines end at a line feed in all of them.

- runs: lines lie between runs of line feeds, paragraphs between runs of two or more in the text without the white space at
  its ends; nothing else is taken off, and what stands before the first run and after the last one counts even if empty.
- stripped: as they are after `str.strip`, empty ones left out; paragraphs end at runs of two or more line feeds.
- blank_lines: as `stripped`, but paragraphs end at lines without anything but white space.
- all: lines as they stand, empty ones too, and no paragraphs.
"""
CUTTINGS = ("runs", "stripped", "blank_lines", "all")
RUNS, STRIPPED, BLANK_LINES, ALL = range(4)

COUNTS = ("units", "chars", "copies", "copy_chars", "repeated", "repeated_chars")
"""Columns, for lines and for paragraphs: count; characters; second and later copies; all copies, the first too."""
UNITS, CHARS, COPIES, COPY_CHARS, REPEATED, REPEATED_CHARS = range(6)
LINES, PARAGRAPHS = 0, 1

LINE_FEED = 10
LAST_STAMP = 1 << 60


class RepeatCounter:
    """Counts repeated lines and paragraphs; keeps scratch memory of the size of the longest text so far."""

    def __init__(self, cutting: Cutting) -> None:
        self._cutting = CUTTINGS.index(cutting)
        self._stamp = np.ones(1, np.int64)
        self._make_room(1 << 10)

    def _make_room(self, units: int) -> None:
        """The number of units per text that fit."""
        self._keys, self._stamps = np.zeros(4 * units, np.uint64), np.zeros(4 * units, np.int64)
        self._copies = np.zeros(4 * units, np.int64)

    def __call__(self, texts: TextBuffers) -> npt.NDArray[np.int64]:
        """Shape (rows, 2, len(COUNTS)): of lines, of paragraphs."""
        counts = np.zeros((len(texts.starts), 2, len(COUNTS)), np.int64)
        row = 0
        while row < len(counts):
            row = int(
                _count(
                    texts.data, texts.starts, texts.ends, char_kinds(), self._cutting, row,
                    self._keys, self._stamps, self._copies, self._stamp, counts,
                )
            )  # fmt: skip
            if row < len(counts):
                self._make_room(len(self._keys))
        return counts


@njit(inline="always")
def _chars(base, start, end, limit):  # type: ignore[no-untyped-def]
    """Code points in the bytes start .. end: bytes that do not continue one."""
    low, ones = np.uint64(0x0101010101010101), np.uint64(56)
    count, i = end - start, start
    while i + 8 <= end:
        eight = load_u64(base + i)
        continued = (eight >> np.uint64(7)) & ~(eight >> np.uint64(6)) & low
        count -= np.int64((continued * low) >> ones)
        i += 8
    while i < end:
        count -= np.int64(load_byte(base + i) & np.uint64(0xC0) == np.uint64(0x80))
        i += 1
    return count


@njit(inline="always")
def _next_line_feed(base, start, end, limit):  # type: ignore[no-untyped-def]
    """Where the next line feed stands, `end` if nowhere."""
    low, high = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
    i = start
    while i < end:
        if i + 8 <= limit:
            eight = load_u64(base + i) ^ (low * np.uint64(LINE_FEED))
            zeros = (eight - low) & ~eight & high
            i += trailing_zeros(zeros) >> 3
            if zeros:
                break
        elif load_byte(base + i) == LINE_FEED:
            break
        else:
            i += 1
    return min(i, end)


@njit(nogil=True, cache=True)
def _trim(base, start, end, spaces):  # type: ignore[no-untyped-def]
    """Where the bytes start .. end begin and end without the white space at both ends (`str.strip`)."""
    while start < end:
        code, width = decode_char(base, start, end)
        if not spaces[code] & SPACE:
            break
        start += width
    while end > start:
        code, at = decode_last(base, start, end)
        if not spaces[code] & SPACE:
            break
        end = at
    return start, end


@njit(inline="always")
def _add(base, start, end, limit, kind, row, oldest, mask, keys, stamps, copies, counts):  # type: ignore[no-untyped-def]
    """Count one line or paragraph."""
    size = _chars(base, start, end, limit)
    key = hash_bytes(base, start, end, limit)
    at = np.int64(key) & mask
    while stamps[at] == oldest and keys[at] != key:
        at = (at + 1) & mask
    counts[row, kind, UNITS] += 1
    counts[row, kind, CHARS] += size
    if stamps[at] != oldest:
        stamps[at], keys[at], copies[at] = oldest, key, 1
    else:
        copies[at] += 1
        counts[row, kind, COPIES] += 1
        counts[row, kind, COPY_CHARS] += size
        counts[row, kind, REPEATED] += 2 if copies[at] == 2 else 1
        counts[row, kind, REPEATED_CHARS] += size * (2 if copies[at] == 2 else 1)


@njit(nogil=True, cache=True)
def _count(data, starts, ends, spaces, cutting, row, keys, stamps, copies, stamp, counts):  # type: ignore[no-untyped-def]
    """Count row after row, until one has more units than fit; returns that row."""
    base, limit, half = data.ctypes.data, len(data), len(keys) // 2
    while row < len(starts):
        start, end = starts[row], ends[row]
        feeds, i = 0, start
        while i < end:
            i = _next_line_feed(base, i, end, limit) + 1
            feeds += 1
        if feeds + 2 > half:
            return row
        mask = 63
        while mask + 1 < 2 * (feeds + 2):
            mask = 2 * mask + 1
        counts[row] = 0
        low, high = (start, end) if cutting == ALL else _trim(base, start, end, spaces)
        for kind in range(1 if cutting == ALL else 2):
            stamp[0] += 1
            oldest = stamp[0]
            if kind == PARAGRAPHS or cutting in (STRIPPED, BLANK_LINES):
                i, stop = low, high
            else:
                i, stop = start, end
            begin, last = i, i  # of the paragraph so far
            first = True
            while i <= stop:
                feed = _next_line_feed(base, i, stop, limit)
                if cutting == ALL:
                    _add(base, i, feed, limit, kind, row, oldest, mask, keys, stamps, copies, counts)
                elif cutting == RUNS:
                    edge = first or feed == stop
                    if kind == LINES:
                        if feed > i or edge:
                            _add(base, i, feed, limit, kind, row, oldest, mask, keys, stamps, copies, counts)
                    elif feed > i or feed == stop:
                        if first:
                            begin = i
                        elif last < i - 1:  # an empty line lies between
                            _add(base, begin, last, limit, kind, row, oldest, mask, keys, stamps, copies, counts)
                            begin = i
                        last = feed
                        if feed == stop:
                            _add(base, begin, last, limit, kind, row, oldest, mask, keys, stamps, copies, counts)
                else:
                    a, b = _trim(base, i, feed, spaces)
                    if kind == LINES:
                        if b > a:
                            _add(base, a, b, limit, kind, row, oldest, mask, keys, stamps, copies, counts)
                    elif cutting == BLANK_LINES:
                        if b > a:
                            if begin == last:
                                begin = a
                            last = b
                        if begin < last and (b == a or feed == stop):
                            _add(base, begin, last, limit, kind, row, oldest, mask, keys, stamps, copies, counts)
                            begin = last
                    else:  # a paragraph ends at a run of line feeds
                        if b > a:
                            if begin == last:
                                begin = a
                            last = b
                        if begin < last and feed in (i, stop):
                            _add(base, begin, last, limit, kind, row, oldest, mask, keys, stamps, copies, counts)
                            begin = last
                first = False
                i = feed + 1
        row += 1
    return row
