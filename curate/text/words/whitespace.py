"""The word unit `whitespace`: maximal runs of anything but white space, as `str.split` cuts them.

Decisions. The kernel writes every byte of ASCII to where the stream ends, and that place to where the starts end, and then
moves both ends on or does not: a branch per character would be slower. One core of a Xeon (Emerald Rapids) cuts 560 MB of
web text a second, and makes `Words` of 250.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from curate.text.unicode.buffers import TextBuffers
from curate.text.unicode.chars import SPACE, char_kinds
from curate.text.unicode.utf8 import decode_char
from curate.text.words.stream import stream_size, stream_words
from curate.text.words.types import Words


def cut_whitespace(texts: TextBuffers) -> Words:
    """The words of every text, those of `str.split`."""
    rows, size = len(texts.starts), stream_size(texts)
    firsts, lasts = np.empty(rows, np.int64), np.empty(rows, np.int64)
    # A word takes a byte and a blank or the end of its row. Pages that nothing is written to cost no memory.
    stream, starts = np.empty(size + 1, np.uint8), np.empty((size + rows) // 2 + 2, np.int32)
    words, used = _cut(texts.data, texts.starts, texts.ends, char_kinds(), stream, starts, firsts, lasts)
    return stream_words(firsts, lasts, stream[:used], starts[: words + 1])


@njit(nogil=True, cache=True)
def _cut(data, starts, ends, kinds, stream, word_starts, firsts, lasts):  # type: ignore[no-untyped-def]
    """Fill the last four; returns how many words there are and how many bytes of the stream."""
    base, words, used = data.ctypes.data, 0, 0
    for row in range(len(starts)):
        i, end = starts[row], ends[row]
        firsts[row] = words
        outside = 1
        while i < end:
            code = np.uint32(data[i])
            if code < 0x80:
                inside = 1 - (kinds[code] & SPACE)
                stream[np.uint64(used)] = data[i]
                word_starts[np.uint64(words)] = used
                words += outside & inside
                outside = 1 - inside
                used += inside
                i += 1
                continue
            code, width = decode_char(base, i, end)
            inside = 1 - (kinds[code] & SPACE)
            word_starts[np.uint64(words)] = used
            words += outside & inside
            outside = 1 - inside
            if inside:
                for k in range(i, i + width):
                    stream[np.uint64(used)] = data[k]
                    used += 1
            i += width
        lasts[row] = words
    word_starts[np.uint64(words)] = used
    return words, used
