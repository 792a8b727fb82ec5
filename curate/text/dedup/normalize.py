"""Text as datatrove 0.10 simplifies it before it looks for near-duplicates (`utils/text.py`, `simplify_text`, defaults).

In this order: `str.lower`; numbers, with at most one separator inside, become 0; every punctuation and control character of
`BLANKED` becomes a blank; runs of white space become one blank; NFD, and marks of category Mn are dropped; white space at the
ends goes. Marks go after white space, so that one between two blanks leaves both.

Case, NFD and categories are the interpreter's (`unicodedata.unidata_version`), as they are there. Its numbers are those of
the package `regex`, whose Unicode is newer: `NEWER_DIGITS` has what Unicode 15 to 18 added.

Decisions. All steps are one table look-up per code point, and eight letters of ASCII are taken at a time: 240 MB of web text a
second on one core of a Xeon. Where a character depends on its neighbours a text is simplified by Python's own functions: a
capital sigma, which may be a final one, and spacing marks that NFD reorders (Balinese, Javanese, Hangul tone marks, music).
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from curate.text.unicode.buffers import text_buffers
from curate.text.unicode.chars import CODE_POINTS, SPACE, char_kinds, every_code_point
from curate.text.unicode.hashing import load_byte, load_u64, store_u64, trailing_zeros
from curate.text.unicode.utf8 import decode_char
from curate.text.words.stream import AFTER_Z, FROM_A, LOWER, TOPS

BLANKED = "".join(map(chr, (*range(9), *range(11, 32), *range(127, 160)))) + (
    "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~«´»–—’“”„…∶━►、。〈〉《》「」【】！％（），．１：；？～"
)
"""datatrove's `PUNCTUATION`, without the full stops of other scripts that its set of the same name has."""
SEPARATORS = ".,،٫⎖⎗⎘"
NEWER_DIGITS = (
    *range(0x10D40, 0x10D4A), *range(0x116D0, 0x116E4), *range(0x11BF0, 0x11BFA), *range(0x11DE0, 0x11DEA),
    *range(0x11F50, 0x11F5A), *range(0x16130, 0x1613A), *range(0x16D70, 0x16D7A), *range(0x1CCF0, 0x1CCFA),
    *range(0x1E4F0, 0x1E4FA), *range(0x1E5F1, 0x1E5FB),
)  # fmt: skip

COPY, BLANK, DIGIT, REPLACE, HARD = range(5)
"""What becomes of a character; HARD: it depends on its neighbours."""
KIND_BITS, SEPARATOR = 4, np.uint32(8)
KIND = np.uint32(7)
SIGMA = "\u03a3"


def simplify(texts: pa.Array) -> pa.LargeStringArray:
    """Every text of a column simplified; null stays null."""
    texts = texts.cast(pa.large_string())
    given, (actions, pool, growth) = text_buffers(texts), _actions()
    room = growth * int((given.ends - given.starts).sum()) + 8
    out, offsets = np.empty(room, np.uint8), np.zeros(len(texts) + 1, np.int64)
    hard = np.zeros(len(texts), np.bool_)
    _simplify(given.data.ctypes.data, given.starts, given.ends, actions, pool, out, out.ctypes.data, offsets, hard)
    simple = pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(offsets), pa.py_buffer(out[: offsets[-1]]))
    if hard.any():
        others = [simplify_one(text) for text in texts.filter(pa.array(hard)).to_pylist()]
        simple = pc.replace_with_mask(simple, pa.array(hard), pa.array(others, pa.large_string()))
    return pc.if_else(texts.is_valid(), simple, None) if texts.null_count else simple


def simplify_one(text: str) -> str:
    """One text, by Python's own functions."""
    numbers, blanks = _patterns()
    words = numbers.sub("0", text.lower()).translate(blanks).split()
    return _without_marks(" ".join(words)).strip()


def _without_marks(text: str) -> str:
    return "".join(char for char in unicodedata.normalize("NFD", text) if unicodedata.category(char) != "Mn")


def _is_digit(char: str) -> bool:
    return unicodedata.category(char) == "Nd" or ord(char) in NEWER_DIGITS


@cache
def _patterns() -> tuple[re.Pattern[str], dict[int, str]]:
    digits = "[" + "".join(filter(_is_digit, every_code_point())) + "]+"
    return re.compile(f"{digits}(?:[{SEPARATORS}]{digits})?"), dict.fromkeys(map(ord, BLANKED), " ")


@cache
def _actions() -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint8], int]:
    """What to do with every code point, the replacements, and how many times its size a character may become at most.

    An action is a kind, and for REPLACE the place of the replacement: its length, then its bytes.
    """
    pool, growth = bytearray(), 1
    places: dict[bytes, int] = {}
    actions = np.zeros(CODE_POINTS, np.uint32)
    for code, char in enumerate(every_code_point()):
        if 0xD800 <= code < 0xE000:
            continue
        parts = unicodedata.normalize("NFD", char.lower())
        if char == SIGMA or any(map(unicodedata.combining, parts)):
            left = _without_marks(parts)
            if char == SIGMA or any(map(unicodedata.combining, left)):
                actions[code] = HARD
                continue
        elif parts == char and unicodedata.category(char) != "Mn":
            continue
        else:
            left = _without_marks(parts)
        new = left.encode()
        if new not in places:
            places[new] = len(pool)
            pool += bytes([len(new)]) + new
        growth = max(growth, -(-len(new) // len(char.encode())))
        actions[code] = places[new] << KIND_BITS | REPLACE
    actions[(char_kinds() & SPACE) != 0] = BLANK
    actions[[ord(char) for char in BLANKED]] = BLANK
    actions[[code for code, char in enumerate(every_code_point()) if _is_digit(char)]] = DIGIT
    actions[[ord(char) for char in SEPARATORS]] |= SEPARATOR
    return actions, np.frombuffer(bytes(pool), np.uint8), growth


@njit(nogil=True, cache=True)
def _simplify(base, starts, ends, actions, pool, out, room, offsets, hard):  # type: ignore[no-untyped-def]
    """Write the texts one after the other into `out`, whose address is `room`; those that are `hard` are left empty.

    `number`: 1 in the digits of a number, 2 in those behind its separator, 0 elsewhere.
    """
    used = np.int64(0)
    for row in range(len(starts)):
        i, end, first = starts[row], ends[row], used
        blank, number = False, 0
        while i < end:
            eight = run = np.uint64(0)
            if i + 8 <= end:
                eight = load_u64(base + i) | LOWER
                letters = (eight + FROM_A) & ~(eight + AFTER_Z) & ~load_u64(base + i) & TOPS
                run = np.uint64(trailing_zeros(letters ^ TOPS) >> 3)
            code, width, kind, place = np.uint32(0), 0, np.uint32(COPY), np.int64(0)
            if not run:
                code, width = decode_char(base, i, end)
                action = actions[code]
                kind, place = action & KIND, np.int64(action >> np.uint32(KIND_BITS))
                if kind == HARD:
                    hard[row] = True
                    break
                if kind != DIGIT and not (number == 1 and action & SEPARATOR):
                    number = 0
                elif kind == DIGIT:
                    if number:
                        i += width
                        continue
                    number = 1
                else:
                    number = 0
                    if i + width < end and actions[decode_char(base, i + width, end)[0]] & KIND == DIGIT:
                        number = 2
                        i += width
                        continue
                if kind == BLANK:
                    blank = True
                    i += width
                    continue
            else:
                number = 0
            if blank and used > first:
                out[used] = ord(" ")
                used += 1
            blank = False
            if run:
                store_u64(room + used, eight)
                used += np.int64(run)
                i += np.int64(run)
            elif kind == DIGIT:
                out[used] = ord("0")
                used += 1
                i += width
            elif kind == REPLACE:
                size = np.int64(pool[place])
                for k in range(place + 1, place + 1 + size):
                    out[used] = pool[k]
                    used += 1
                i += width
            else:
                for k in range(i, i + width):
                    out[used] = load_byte(base + k)
                    used += 1
                i += width
        while used > first and out[used - 1] == ord(" "):
            used -= 1
        if hard[row]:
            used = first
        offsets[row + 1] = used
