"""Finds the lines that RefinedWeb's corrections may change, in one pass over the bytes, so that ordinary texts cost no Python.

A line is *notable* when some correction of the stage `refinedweb_lines` could act on it, whatever the corrections before
have done to the ends of the text; what is done to it is the stage's affair. Malformed UTF-8 gives some facts and reads
nothing outside its row.

Words here are those that DCLM counts: maximal runs of anything but blank, tab, line feed, vertical tab, form feed, carriage
return and NUL (fastText's tokens) whose first character is a letter or digit (`str.isalnum`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from numba import njit

from curate.text.unicode.buffers import TextBuffers
from curate.text.unicode.chars import CODE_POINTS, every_code_point
from curate.text.unicode.utf8 import decode_char
from curate.text.words.trie import build_automaton, flatten

SPACE = 1
"""`str.isspace`."""
UPPER = 2
"""`str.isupper`."""
DIGIT = 4
"""`str.isdigit`."""
ALNUM = 8
"""`str.isalnum`."""
DECIMAL = 16
r"""`str.isdecimal`, which is `\d` of `re`."""
WORD = 32
r"""`\w` of `re`."""
GAP = 64
"""Where fastText cuts words."""
KEY = 128
"""A last letter of the words that follow a counter: all of them are plurals."""

LINE, UPPERS, DIGITS, WORDS, COUNTER, PHRASE = range(6)
"""Columns of the notable lines: number of the line in its text, what it counts (words as in `str.split`), and whether it may be
a counter or hold a phrase."""

LETTERS = 8
"""From this bit on stands a character's letter in the phrases."""
EDGE = np.uint32(SPACE | GAP)
"""What stands before a line."""
NEWLINE = 10


@dataclass(frozen=True)
class Notable:
    """Lines firsts[r] .. firsts[r + 1] (exclusive) are the notable ones of row r."""

    words: npt.NDArray[np.int64]
    """Shape (rows,): DCLM's words of each text."""
    touched: npt.NDArray[np.bool_]
    """Shape (rows,): there is a notable line, white space at an end, too long a run of newlines, or no text at all."""
    firsts: npt.NDArray[np.int64]
    """Shape (rows + 1,)."""
    lines: npt.NDArray[np.int64]
    """Shape (lines, 6): the columns above."""


def notable_finder(
    *,
    max_newlines: int | None,
    max_upper_frac: float | None,
    max_digit_frac: float | None,
    counters: bool,
    min_words: int | None,
    phrases: Sequence[str],
    max_phrase_words: int | None,
) -> Callable[[TextBuffers], Notable]:
    """A function from texts to their notable lines. A phrase is held by a line when it occurs in any case."""
    letters, spellings = _spell(phrases)
    size = int(letters.max()) + 1
    automaton = flatten(build_automaton(spellings, size), size)
    kinds = char_kinds() | letters << LETTERS
    most = sys.maxsize
    limits = np.array([most if value is None else value for value in (max_newlines, max_phrase_words)], np.int64)
    fracs = np.array([np.inf if value is None else value for value in (max_upper_frac, max_digit_frac)])
    least = np.int64(min_words or 0)

    def find(texts: TextBuffers) -> Notable:
        rows = len(texts.starts)
        room = rows + _newlines(texts.data, texts.starts, texts.ends)
        words, touched = np.zeros(rows, np.int64), np.zeros(rows, np.bool_)
        firsts, lines = np.zeros(rows + 1, np.int64), np.empty((room, 6), np.int64)
        used = _find(
            texts.data, texts.starts, texts.ends, kinds, automaton.steps, automaton.first_hit, limits, fracs, least, counters,
            words, touched, firsts, lines,
        )  # fmt: skip
        return Notable(words, touched, firsts, lines[:used])

    return find


def count_words(texts: TextBuffers) -> npt.NDArray[np.int64]:
    """DCLM's words of each text. Shape (rows,)."""
    words = np.zeros(len(texts.starts), np.int64)
    _count_words(texts.data, texts.starts, texts.ends, char_kinds(), words)
    return words


@cache
def char_kinds() -> npt.NDArray[np.uint8]:
    """The bits above for every code point. Shape (0x110000,), read-only."""
    text = every_code_point()
    kinds = np.zeros(CODE_POINTS, np.uint8)
    methods = ((SPACE, str.isspace), (UPPER, str.isupper), (DIGIT, str.isdigit), (ALNUM, str.isalnum), (DECIMAL, str.isdecimal))
    for bit, method in methods:
        kinds |= np.fromiter(map(method, text), np.uint8, CODE_POINTS) * np.uint8(bit)
    kinds[kinds & ALNUM != 0] |= WORD
    for bit, chars in ((WORD, "_"), (GAP, " \t\n\v\f\r\0"), (KEY, "sS")):
        kinds[[ord(char) for char in chars]] |= bit
    kinds.flags.writeable = False
    return kinds


def _spell(phrases: Sequence[str]) -> tuple[npt.NDArray[np.uint32], list[list[int]]]:
    """A letter for every code point, equal where `re` in any case takes one for the other, and the phrases in those letters."""
    letters = np.zeros(CODE_POINTS, np.uint32)
    text = every_code_point()
    alphabet = sorted(set("".join(phrases)))
    alike = re.findall(f"[{re.escape(''.join(alphabet))}]", text, re.IGNORECASE) if alphabet else []
    size = 0
    for char in alphabet:
        if letters[ord(char)]:
            continue
        size += 1
        same = [other for other in alike if re.fullmatch(re.escape(char), other, re.IGNORECASE)]
        letters[[ord(other) for other in same]] = size
    return letters, [[int(letters[ord(char)]) for char in phrase] for phrase in phrases]


@njit(nogil=True, cache=True)
def _newlines(data, starts, ends):  # type: ignore[no-untyped-def]
    total = 0
    for row in range(len(starts)):
        for i in range(starts[row], ends[row]):
            total += data[i] == NEWLINE
    return total


@njit(nogil=True, cache=True)
def _count_words(data, starts, ends, kinds, words):  # type: ignore[no-untyped-def]
    base = data.ctypes.data
    for row in range(len(starts)):
        i, end, inside, total = starts[row], ends[row], False, 0
        while i < end:
            code, width = decode_char(base, i, end)
            i += width
            kind = kinds[code]
            total += (not inside) & (kind & GAP == 0) & (kind & ALNUM != 0)
            inside = kind & GAP == 0
        words[row] = total


@njit(nogil=True, cache=True)
def _find(  # type: ignore[no-untyped-def]
    data, starts, ends, kinds, steps, accepting, limits, fracs, least, counters, row_words, touched, firsts, lines
):
    """Fill the arrays of `Notable`; returns the number of lines."""
    base = data.ctypes.data
    max_newlines, max_phrase_words = limits[0], limits[1]
    max_upper, max_digit = fracs[0], fracs[1]
    phrases = accepting < len(steps)
    used = 0
    for row in range(len(starts)):
        start, end = starts[row], ends[row]
        i, total, run, touch, before = start, 0, 0, start == end, EDGE
        line, chars, lead, solid, words, uppers, digits = 0, 0, 0, 0, 0, 0, 0
        state, hit, head, tail = np.uint32(0), np.uint32(0), np.uint32(0), np.uint32(0)
        while i <= end:
            code, width = np.uint32(NEWLINE), 1  # the end of a text ends its last line
            if i < end:
                code, width = decode_char(base, i, end)
            if code != NEWLINE:
                i += width
                kind = kinds[code]
                chars += 1
                total += before & GAP != 0 and kind & ALNUM != 0
                state = np.uint32(steps[state + (kind >> LETTERS)])
                hit = max(hit, state)
                if not kind & SPACE:
                    if before & SPACE:
                        words += 1
                        if words == 1:
                            lead = chars - 1
                    solid = chars
                    uppers += kind & UPPER != 0
                    digits += kind & DIGIT != 0
                    if kind & WORD:
                        if head == 0:
                            head = kind
                        tail = kind
                before = kind
                continue
            touch |= lead > 0 and line == 0  # white space at the beginning of the text
            if i < end:
                run = 1 if chars else run + 1
                touch |= run > max_newlines
            else:
                touch |= solid < chars or chars == 0
            if chars:
                touch |= words == 0 and line == 0
                least_chars = max(solid - lead, 1)
                counter = counters and head & DECIMAL != 0 and tail & KEY != 0
                phrase = phrases and words <= max_phrase_words and (hit >= accepting or words == 0)
                if counter or phrase or words < least or uppers / least_chars > max_upper or digits / least_chars > max_digit:
                    touch = True
                    lines[used, 0] = line
                    lines[used, 1] = uppers
                    lines[used, 2] = digits
                    lines[used, 3] = words
                    lines[used, 4] = counter
                    lines[used, 5] = phrase
                    used += 1
                chars, lead, solid, words, uppers, digits = 0, 0, 0, 0, 0, 0
                state, hit, head, tail = np.uint32(0), np.uint32(0), np.uint32(0), np.uint32(0)
            elif line == 0:
                touch = True
            before = EDGE
            line += 1
            i += width
        row_words[row] = total
        touched[row] = touch
        firsts[row + 1] = used
    return used
