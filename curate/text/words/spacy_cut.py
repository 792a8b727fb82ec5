"""Cuts one chunk, a run of non-space characters, by spaCy's rules for prefixes, suffixes, infixes, units and special words.

Follows `Tokenizer._split_affixes` and `_attach_tokens` of spaCy 3.8.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from curate.text.unicode.hashing import find_row, fold_product, hash_bytes
from curate.text.unicode.utf8 import decode_char
from curate.text.words.spacy_rules import (
    BEFORE_DOT,
    CURRENCY,
    DIGIT,
    HYPHEN,
    INFIX,
    LETTER,
    LOWER,
    PREFIX,
    QUOTE,
    SUFFIX,
    UNIT_END,
    UPPER,
)

LONG_CHUNK = 10_000
"""A chunk of more bytes is cut by the rules alone: spaCy takes time quadratic in its length there."""
ASK_URL, ASK_SPECIAL = -1, -2
"""Not cut: spaCy is to be asked whether a part of the chunk is a URL, or about the whole chunk."""
MAX_SPECIAL, MAX_UNIT, MAX_PAIRED = 32, 8, 8
"""Bytes of the longest special word, characters of the longest unit, bytes of the longest word in a pair, or more."""
PAIRED = np.uint64(0x9E3779B97F4A7C15)
DOT, PLUS, APOSTROPHE, RIGHT_QUOTE, DOLLAR, DEGREE, ELLIPSIS = (ord(char) for char in ".+'’$°…")
"""Characters the rules name."""


class ChunkRules(NamedTuple):
    """What the rules look up."""

    classes: npt.NDArray[np.uint16]
    """What every code point is to the rules (`spacy_rules.py`)."""
    specials: npt.NDArray[np.uint64]
    """Special words by their hash, each with a place in `special_parts`."""
    special_parts: npt.NDArray[np.int64]
    """Lengths of the parts of each special word, up to a zero."""
    units: npt.NDArray[np.uint64]
    """Units of measurement, by their hash."""
    pairs: npt.NDArray[np.uint64]
    """Hashes of the neighbours of which a special word may be made."""


class ChunkScratch(NamedTuple):
    """Room for the code points of a chunk, their places and the ends of its words."""

    codes: npt.NDArray[np.uint32]
    places: npt.NDArray[np.int64]
    cuts: npt.NDArray[np.int32]


@njit(inline="always")
def _find(base, start, end, limit, table):  # type: ignore[no-untyped-def]
    """The row of `table` that holds the bytes start .. end, by their hash; -1 for none. Rows with hash 0 are empty."""
    return find_row(hash_bytes(base, start, end, limit), table) if end - start <= MAX_SPECIAL else -1


@njit(inline="always")
def _prefix(codes, classes, lo, hi):  # type: ignore[no-untyped-def]
    """How many code points the rules for prefixes split off."""
    code, size = codes[lo], 0
    if classes[code] & PREFIX:
        size = 1
    elif code == PLUS:
        size = 0 if lo + 1 < hi and classes[codes[lo + 1]] & DIGIT else 1
    elif code == DOT:
        while lo + size < hi and codes[lo + size] == DOT:
            size += 1
        if size == 1:
            size = 0
    elif code == ord("U") or code == ord("C") or code == ord("A"):
        at = lo + 2 if code == ord("U") and lo + 1 < hi and codes[lo + 1] == ord("S") else lo + 1
        if at < hi and codes[at] == DOLLAR and (at > lo + 1 or code != ord("U")):
            size = at + 1 - lo
    return size


@njit(inline="always")
def _suffix(codes, classes, lo, hi):  # type: ignore[no-untyped-def]
    """How many code points the rules for suffixes split off, units of measurement left out."""
    size, code = 0, codes[hi - 1]
    kind = classes[code]
    one = codes[hi - 2] if hi - 2 >= lo else np.uint32(0)
    two = codes[hi - 3] if hi - 3 >= lo else np.uint32(0)
    if kind & SUFFIX:
        size = 1
        if code == ELLIPSIS and one == ELLIPSIS:
            size = 2
    elif code == DOT:
        while hi - size > lo and codes[hi - size - 1] == DOT:
            size += 1
        if size == 1:
            ends_word = classes[one] & BEFORE_DOT or (classes[one] & UPPER and classes[two] & UPPER)
            fahrenheit, celsius = one == ord("F") or one == ord("f"), one == ord("C") or one == ord("c")
            temperature = two == DEGREE and (fahrenheit or celsius or one == ord("K") or one == ord("k"))
            if not (ends_word or temperature):
                size = 0
    elif code == PLUS:
        size = 1 if classes[one] & DIGIT else 0
    elif (code == ord("s") or code == ord("S")) and one in (APOSTROPHE, RIGHT_QUOTE):
        size = 2
    if kind & CURRENCY and classes[one] & DIGIT:
        size = max(size, 1)
    if code == DOLLAR:
        if (one == ord("C") or one == ord("A")) and classes[two] & DIGIT:
            size = max(size, 2)
        if one == ord("S") and two == ord("U") and hi - 4 >= lo and classes[codes[hi - 4]] & DIGIT:
            size = max(size, 3)
    return size


@njit(inline="always")
def _unit(base, limit, codes, classes, places, units, lo, hi, size):  # type: ignore[no-untyped-def]
    """How many code points the longest unit after a digit has, where that is more than `size`, and `size` otherwise."""
    for length in range(min(hi - lo - 1, MAX_UNIT), size, -1):
        if classes[codes[hi - length - 1]] & DIGIT and _find(base, places[hi - length], places[hi], limit, units) >= 0:
            size = length
            break
    return size


@njit(inline="always")
def _infix(codes, classes, lo, k, hi):  # type: ignore[no-untyped-def]
    """How many code points the infix has that the rules find at `k`; 0 for none."""
    code, size = codes[k], 0
    kind = classes[code]
    if kind & INFIX:
        size = 1
    elif code == DOT and k + 1 < hi and codes[k + 1] == DOT:
        while k + size < hi and codes[k + size] == DOT:
            size += 1
    elif k > lo and k + 1 < hi:
        one, two = classes[codes[k - 1]], classes[codes[k + 1]]
        sign = code == PLUS or code == ord("-") or code == ord("*") or code == ord("^")
        if sign and one & DIGIT and (two & DIGIT or codes[k + 1] == ord("-")):
            size = 1
        if code == DOT:
            if one & (LOWER | QUOTE) and two & (UPPER | QUOTE):
                size = 1
        elif code == ord(","):
            if one & LETTER and two & LETTER:
                size = 1
        elif not size and one & (LETTER | DIGIT):
            if kind & HYPHEN:
                if two & LETTER:
                    size = 1
                elif codes[k + 1] == code and code != ord("–") and code != ord("~"):
                    size = 3 if code == ord("-") and k + 2 < hi and codes[k + 2] == code else 2
                    if k + size >= hi or not classes[codes[k + size]] & LETTER:
                        size = 0
            elif code == ord(":") or code == ord("<") or code == ord(">") or code == ord("=") or code == ord("/"):
                size = 1 if two & LETTER else 0
    return size


@njit(inline="always")
def _may_be_url(codes, classes, lo, hi):  # type: ignore[no-untyped-def]
    """Whether there is what any URL has: a full stop, two letters or a digit after it."""
    for k in range(lo + 1, hi - 1):
        if codes[k] == DOT:
            one = classes[codes[k + 1]]
            if one & DIGIT or (one & LOWER and k + 2 < hi and classes[codes[k + 2]] & LOWER):
                return True
    return False


@njit(inline="always")
def _has_pair(base, start, limit, cuts, count, pairs):  # type: ignore[no-untyped-def]
    """Whether two neighbours among the words of a chunk may make a special word."""
    left, middle = np.int64(0), np.int64(cuts[0])
    for k in range(1, count):
        right = np.int64(cuts[k])
        if middle - left <= MAX_PAIRED and right - middle <= MAX_PAIRED:
            one = hash_bytes(base, start + left, start + middle, limit)
            two = hash_bytes(base, start + middle, start + right, limit)
            pair = fold_product(one ^ PAIRED, two)
            at = np.int64(pair & np.uint64(len(pairs) - 1))
            while pairs[at]:
                if pairs[at] == pair:
                    return True
                at = (at + 1) & (len(pairs) - 1)
        left, middle = middle, right
    return False


@njit(inline="always")
def url_slot(key, urls):  # type: ignore[no-untyped-def]
    """Where a text stands that was held against the pattern, its hash with the last bit for the answer, or would stand."""
    at = np.int64(key >> np.uint64(1) & np.uint64(len(urls) - 1))
    while urls[at] and urls[at] | np.uint64(1) != key | np.uint64(1):
        at = (at + 1) & (len(urls) - 1)
    return at


@njit(nogil=True, cache=True)
def cut_chunk(base, start, end, limit, rules, urls, scratch):  # type: ignore[no-untyped-def]
    """The ends of the words of a chunk, in bytes from its start, into `scratch.cuts`. Returns their number, or what to ask
    spaCy: ASK_SPECIAL, or ASK_URL about the part between the first two of the cuts."""
    classes, specials, special_parts, units, pairs = rules
    codes, places, cuts = scratch
    size, i, dotted = 0, start, False
    while i < end:
        code, width = decode_char(base, i, end)
        codes[size], places[size] = code, i
        dotted |= code == DOT
        size += 1
        i += width
    places[size] = end
    lo, hi, last = 0, size, -1
    count, tail = 0, len(cuts)  # words before the core stand at the front of `cuts`, those after it at its end
    special = -1
    while lo < hi and hi - lo != last:
        special = _find(base, places[lo], places[hi], limit, specials)
        if special >= 0:
            break
        last = hi - lo
        before, after = _prefix(codes, classes, lo, hi), 0
        if before and lo + before < hi:
            special = _find(base, places[lo + before], places[hi], limit, specials)
            if special >= 0:
                lo += before
                cuts[count] = places[lo] - start
                count += 1
                break
        if lo + before < hi:  # the rules for suffixes see what the prefix leaves
            after = _suffix(codes, classes, lo + before, hi)
            if classes[codes[hi - 1]] & UNIT_END:
                after = _unit(base, limit, codes, classes, places, units, lo + before, hi, after)
        if after and hi - after > lo:
            special = _find(base, places[lo], places[hi - after], limit, specials)
            if special >= 0:
                tail -= 1
                cuts[tail] = places[hi] - start
                hi -= after
                break
        if before:
            lo += before
            cuts[count] = places[lo] - start
            count += 1
        if after:
            tail -= 1
            cuts[tail] = places[hi] - start
            hi -= after
    if special >= 0:
        at, part = places[lo] - start, np.int64(specials[special, 1])
        while special_parts[part]:
            at += special_parts[part]
            cuts[count] = at
            count += 1
            part += 1
    elif lo < hi:
        begin, k, inside = lo, lo, count
        while k < hi:
            length = _infix(codes, classes, lo, k, hi)
            if length and k > lo:
                if k > begin:
                    cuts[count] = places[k] - start
                    count += 1
                cuts[count] = places[k + length] - start
                count += 1
                begin = k + length
            k += max(length, 1)
        if begin < hi:
            cuts[count] = places[hi] - start
            count += 1
        if count - inside > 1 and dotted and hi - lo <= LONG_CHUNK and _may_be_url(codes, classes, lo, hi):
            at = url_slot(hash_bytes(base, places[lo], places[hi], limit), urls)
            if not urls[at]:
                cuts[0], cuts[1] = places[lo] - start, places[hi] - start
                return ASK_URL
            if urls[at] & np.uint64(1):
                cuts[inside], count = places[hi] - start, inside + 1
    while tail < len(cuts):
        cuts[count] = cuts[tail]
        count += 1
        tail += 1
    if size <= LONG_CHUNK and _has_pair(base, start, limit, cuts, count, pairs):
        return ASK_SPECIAL
    return count


@njit(cache=True)
def remember_urls(answers, urls):  # type: ignore[no-untyped-def]
    """Store the hashes of texts that were held against the pattern, each with the last bit for the answer."""
    for answer in answers:
        urls[url_slot(answer, urls)] = answer
