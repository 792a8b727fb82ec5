"""Where in a text personal data may stand: one pass over the bytes, for the rules of `rules/pii.py` to look at.

Malformed UTF-8 gives some places and reads nothing outside its row.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
from numba import njit

from curate.text.unicode.buffers import TextBuffers
from curate.text.unicode.chars import CODE_POINTS, every_code_point
from curate.text.unicode.utf8 import decode_char

AT, NUMBER, GROUPS, TOKEN, ACCOUNT = range(5)
"""What may stand at a place: an `@`; a run of digits and what joins them; one of hexadecimal digits, colons and full stops;
the prefix of a key; two capitals and two digits."""
ROW, WHAT, START, END = range(4)
"""Columns of the places; START and END are code points."""

PREFIXES = (
    "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "xoxa-", "xoxb-", "xoxe-", "xoxe.", "xoxo-", "xoxp-",
    "xoxr-", "xoxs-", "xapp-", "AIza", "sk_live_", "rk_live_", "sk-", "eyJ", "-----BEGIN ",
)  # fmt: skip

DIGIT, JOIN, HEX, WORD, FIRST, UPPER, TIGHT = 1, 2, 4, 8, 16, 32, 64
"""Bits of a code point: ASCII digit; joins digits; hexadecimal digit; `\\w`; may begin a prefix; ASCII capital; ASCII
letter, digit, `_` or `-`, after which no key begins."""

BLANKS, DASHES = " \u00a0\u2009\u202f", "-\u2010\u2011\u2012\u2013"
MIN_DIGITS = 7


@njit(nogil=True, cache=True)
def _scan(data, starts, ends, marks, prefixes, sizes, room, found):  # type: ignore[no-untyped-def]
    """Fill `found` as far as there is room; returns how many places there are."""
    base, used = data.ctypes.data, 0
    for row in range(len(starts)):
        i, end, at = starts[row], ends[row], 0
        before = 0  # bits of the character before
        last = np.uint32(0)  # that character
        number, digits, dots = -1, 0, 0
        group, colons, double = -1, 0, False
        pending = False  # an '@' after a character that may end a name
        while True:
            code, width = np.uint32(10), 1
            if i < end:
                code, width = decode_char(base, i, end)
            mark = marks[code]
            if pending and mark & WORD:
                if used < room:
                    found[used, 0], found[used, 1], found[used, 2], found[used, 3] = row, AT, at - 1, at
                used += 1
            pending = code == 64 and (before & WORD != 0 or last == 45 or last == 43)
            if mark & (DIGIT | JOIN) and not (mark & before & JOIN and code == 32 and last == 32):
                if number < 0 and (mark & DIGIT or code == 43 or code == 40):
                    number, digits, dots = at, 0, 0
                digits += mark & DIGIT
                dots += code == 46 and before & DIGIT != 0
            elif number >= 0:
                if digits >= MIN_DIGITS or (dots >= 3 and digits >= 4):
                    if used < room:
                        found[used, 0], found[used, 1], found[used, 2], found[used, 3] = row, NUMBER, number, at
                    used += 1
                number = -1
            if mark & HEX or code == 58 or code == 46:
                if group < 0:
                    group, colons, double = at, 0, False
                colons += code == 58
                double |= code == 58 and last == 58
            elif group >= 0:
                if (double or colons >= 6) and at - group > 3:
                    if used < room:
                        found[used, 0], found[used, 1], found[used, 2], found[used, 3] = row, GROUPS, group, at
                    used += 1
                group = -1
            if i >= end:
                break
            if mark & FIRST and not before & TIGHT:
                for p in range(len(sizes)):
                    if i + sizes[p] <= end:
                        k = 0
                        while k < sizes[p] and data[i + k] == prefixes[p, k]:
                            k += 1
                        if k == sizes[p]:
                            if used < room:
                                found[used, 0], found[used, 1], found[used, 2], found[used, 3] = row, TOKEN, at, at + k
                            used += 1
                            break
            if mark & UPPER and not before & TIGHT and i + 4 <= end:
                a, b, c = data[i + 1], data[i + 2], data[i + 3]
                if 65 <= a <= 90 and 48 <= b <= 57 and 48 <= c <= 57:
                    if used < room:
                        found[used, 0], found[used, 1], found[used, 2], found[used, 3] = row, ACCOUNT, at, at + 4
                    used += 1
            before, last = mark, code
            i += width
            at += 1
    return used


@cache
def _marks() -> npt.NDArray[np.uint8]:
    marks = np.zeros(CODE_POINTS, np.uint8)
    word = re.compile(r"\w")
    marks[:] = np.fromiter((WORD if word.match(char) else 0 for char in every_code_point()), np.uint8, CODE_POINTS)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for bit, chars in (
        (DIGIT, "0123456789"), (JOIN, BLANKS + DASHES + ".()/+"), (HEX, "0123456789abcdefABCDEF"),
        (FIRST, "".join(prefix[0] for prefix in PREFIXES)), (UPPER, letters),
        (TIGHT, "0123456789_-" + letters + letters.lower()),
    ):  # fmt: skip
        marks[[ord(char) for char in set(chars)]] |= bit
    marks.flags.writeable = False
    return marks


def place_finder() -> Callable[[TextBuffers], npt.NDArray[np.int64]]:
    """A function from texts to the places where something may stand: shape (places, 4), the columns above, by row."""
    marks, sizes = _marks(), np.array([len(prefix) for prefix in PREFIXES])
    prefixes = np.zeros((len(PREFIXES), max(sizes)), np.uint8)
    for number, prefix in enumerate(PREFIXES):
        prefixes[number, : len(prefix)] = np.frombuffer(prefix.encode(), np.uint8)

    def find(texts: TextBuffers) -> npt.NDArray[np.int64]:
        room = 1024
        while True:
            found = np.empty((room, 4), np.int64)
            used = int(_scan(texts.data, texts.starts, texts.ends, marks, prefixes, sizes, room, found))
            if used <= room:
                return found[:used]
            room = used

    return find
