"""Counts what DCLM's page rules ask of a text: its characters, words, lines and paragraphs, in one pass over the bytes.

The definitions are those of the stage `dclm_page`. Malformed UTF-8 gives some counts and reads nothing outside its row.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from numba import njit

from curate.text.unicode import chars
from curate.text.unicode.buffers import TextBuffers
from curate.text.unicode.chars import ALNUM, BREAK, FREE, SPACE
from curate.text.unicode.utf8 import decode_char

COUNTS = ("chars", "words", "lines", "paragraphs", "alnum_chars", "max_line_chars", "all_lines", "line_chars")
"""What is counted; the columns of the array `page_counts` returns."""
CHARS, WORDS, LINES, PARAGRAPHS, ALNUM_CHARS, MAX_LINE_CHARS, ALL_LINES, LINE_CHARS = range(8)

GAP = FREE
"""Where fastText cuts words."""
NEWLINE, RETURN = ord("\n"), ord("\r")


def page_counts(texts: TextBuffers) -> npt.NDArray[np.int64]:
    """Shape (rows, len(COUNTS))."""
    counts = np.zeros((len(texts.starts), len(COUNTS)), np.int64)
    _count(texts.data, texts.starts, texts.ends, _kinds(), counts)
    return counts


@cache
def _kinds() -> npt.NDArray[np.uint8]:
    kinds = chars.char_kinds().copy()
    kinds[[ord(char) for char in " \t\n\v\f\r\0"]] |= GAP
    kinds.flags.writeable = False
    return kinds


@njit(nogil=True, cache=True)
def _count(data, starts, ends, kinds, counts):  # type: ignore[no-untyped-def]
    """Fill one row of `counts` per text."""
    base = data.ctypes.data
    for row in range(len(starts)):
        i, end, count = starts[row], ends[row], counts[row]
        size, alnum, words, line_chars, longest, all_lines, total = 0, 0, 0, 0, 0, 0, 0
        word, line, paragraph, pair, previous = False, False, False, False, np.uint32(0)
        while i < end:
            code, width = decode_char(base, i, end)
            i += width
            kind = kinds[code]
            size += 1
            alnum += kind & ALNUM != 0
            if not kind & BREAK:
                line_chars += 1
            elif code != NEWLINE or previous != RETURN:
                all_lines += 1
                total += line_chars
                longest = max(longest, line_chars)
                line_chars = 0
            if not kind & SPACE:
                words += (not word) & (kind & GAP == 0)
                word = kind & GAP == 0
                line = True
                pair = False
            else:
                word = word and kind & GAP == 0
                if code != NEWLINE:
                    pair = False
                else:
                    words += 1
                    count[LINES] += line
                    paragraph |= line
                    line = False
                    if pair:
                        count[PARAGRAPHS] += paragraph
                        paragraph = False
                    pair = not pair
            previous = code
        count[LINES] += line
        count[PARAGRAPHS] += paragraph or line
        if size and not kinds[previous] & BREAK:
            all_lines += 1
            total += line_chars
        count[CHARS], count[ALNUM_CHARS], count[WORDS] = size, alnum, words
        count[ALL_LINES], count[LINE_CHARS], count[MAX_LINE_CHARS] = all_lines, total, max(longest, line_chars)
