"""Finds the words and phrases of a list in lower-cased texts, flanked by other characters or not, in one pass over the bytes.

A word is flanked where neither neighbour is a letter, digit or underscore (`\\w` of `re`). To see that by letters alone the
text is read with a border around every other character and around the whole, and so are the words: "a b" is |a| |b|. One
automaton (Aho and Corasick 1975) takes a step per character and border. Malformed UTF-8 reads nothing outside its row.

Decisions. Lower case is that of `str.lower`. Texts with one of the two characters whose lower case is not one character of
its own (U+0130, and U+03A3, which has two) are lower-cased by `str` and read again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from curate.text.unicode.buffers import TextBuffers, text_buffers
from curate.text.unicode.chars import CODE_POINTS, every_code_point, lower_chars
from curate.text.unicode.utf8 import decode_char
from curate.text.words.trie import build_automaton

BORDER = 1
"""The number of a border among letters; 0 is a character of no word."""
FLANK, ODD = 1, 2
"""Kinds of characters, below the letter: has borders; has no lower case of its own. Shape of an entry: letter << 2 | kinds."""
NONE, AGAIN = -1, -2

Search = Callable[[TextBuffers], npt.NDArray[np.int64]]


def word_search(words: Sequence[str], flanked: bool) -> Search:
    """A function from texts to the place in `words` (lower case, none empty, none twice) of the one that ends first in each;
    of two that end together the longer one; -1 for none."""
    letters = {char: number for number, char in enumerate(sorted(set("".join(words))), BORDER + 1)}
    automaton = build_automaton([_spelled(word, letters, flanked) for word in words], len(letters) + BORDER + 1)
    steps = automaton.steps
    found = np.array([ended[0] if ended else NONE for ended in automaton.endings], np.int32)
    table = _table(letters, flanked)

    def search(texts: TextBuffers) -> npt.NDArray[np.int64]:
        places = np.full(len(texts.starts), NONE, np.int64)
        _search(texts.data, texts.starts, texts.ends, table, steps, found, flanked, places)
        if (again := np.flatnonzero(places == AGAIN)).size:
            spans = zip(texts.starts[again].tolist(), texts.ends[again].tolist(), strict=True)
            low = [bytes(texts.data[start:end]).decode("utf-8", "replace").lower() for start, end in spans]
            places[again] = search(text_buffers(pa.array(low, pa.large_string())))
        return places

    return search


def _is_word(char: str) -> bool:
    return re.match(r"\w", char) is not None


def _spelled(word: str, letters: dict[str, int], flanked: bool) -> list[int]:
    if not flanked:
        return [letters[char] for char in word]
    inner = [[letters[char]] if _is_word(char) else [BORDER, letters[char], BORDER] for char in word]
    return [BORDER, *(letter for part in inner for letter in part), BORDER]


@cache
def _flanks() -> npt.NDArray[np.int32]:
    """FLANK for every code point that is none of `\\w`."""
    flanks = np.full(CODE_POINTS, FLANK, np.int32)
    flanks[[match.start() for match in re.finditer(r"\w", every_code_point())]] = 0
    return flanks


def _table(letters: dict[str, int], flanked: bool) -> npt.NDArray[np.int32]:
    """Letter and kinds of every code point, in lower case."""
    table = _flanks().copy() if flanked else np.zeros(CODE_POINTS, np.int32)
    for char, number in letters.items():
        table[ord(char)] |= number << 2
    for char, lower in lower_chars().items():
        table[ord(char)] = table[ord(lower)]
    table[[ord("İ"), ord("Σ")]] = ODD
    return table


@njit(nogil=True, cache=True)
def _search(data, starts, ends, table, steps, found, flanked, places):  # type: ignore[no-untyped-def]
    """Fill `places`."""
    base = data.ctypes.data
    first = steps[0, BORDER] if flanked else 0
    for row in range(len(starts)):
        i, end, state = starts[row], ends[row], first
        while i < end:
            code, width = decode_char(base, i, end)
            i += width
            kind = table[code]
            if kind & (FLANK | ODD):
                if kind & ODD:
                    places[row] = AGAIN
                    break
                state = steps[state, BORDER]
                if found[state] >= 0:
                    places[row] = found[state]
                    break
                state = steps[state, kind >> 2]
                state = steps[state, BORDER]
            else:
                state = steps[state, kind >> 2]
            if found[state] >= 0:
                places[row] = found[state]
                break
        if places[row] == NONE and flanked:
            places[row] = found[steps[state, BORDER]]
