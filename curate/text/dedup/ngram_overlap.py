"""Finds word n-grams of evaluation items in texts: folds words, hashes n-grams, looks them up in a sorted array.

Words are those of unit `uax29` that have a letter or digit. Of a word its letters and digits count (`str.isalnum`), taken
apart by NFKD, without marks, and case-folded; what else is in it falls away: apostrophes of all kinds, hyphens that do not
part words, soft hyphens, joiners. So "Café", "CAFÉ" and "cafe" are one word, and so are "don't", "don’t" and "dont". Items and
texts go through the same kernel.

An n-gram is found by a hash of 64 bits, made of the hashes of its words, and not compared word for word. In w words of text
about w k / 2**64 n-grams are taken for one of k others by chance: one in two trillion words, where k is ten million.

Decisions. Almost no n-gram of a text is in the index, so a filter in front of it decides nearly all of them by one number of
64 bits: three of its bits per n-gram (a blocked Bloom filter; Putze, Sanders, Singler 2007). What passes is searched by
halving. Short items, which match whole, are searched for where their first words are, by a filter of its own.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from numba import njit

from curate.text.unicode.chars import ALNUM as ALNUM_CHAR
from curate.text.unicode.chars import CODE_POINTS, char_kinds
from curate.text.unicode.hashing import LAST, SEED, STEP, fold_product
from curate.text.unicode.utf8 import decode_char
from curate.text.words.types import ALNUM, Words

MORE = np.uint32(1 << 31)
"""Marks, in the table of folded characters, the place of several."""
PLACE = np.uint32(2**31 - 1)
BASE = np.uint64(STEP)
"""Base of the polynomial in the words' hashes that is the hash of an n-gram. Odd."""
ONE, SIX, HALF, BITS = np.uint64(1), np.uint64(6), np.uint64(32), np.uint64(63)
FILTER_BITS = 12
"""Bits of a filter per n-gram, at least; at most twice as many."""


@dataclass(frozen=True)
class Folded:
    """Row r has the words firsts[r] .. firsts[r + 1] (exclusive)."""

    firsts: npt.NDArray[np.int64]
    hashes: npt.NDArray[np.uint64]
    words: npt.NDArray[np.int64]
    """Index of every word in the `Words` it comes from."""


@dataclass(frozen=True)
class Hits:
    """N-grams of texts that are in the index, one for each time they occur."""

    rows: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    """First word, in `Words`."""
    ends: npt.NDArray[np.int64]
    """Last word, in `Words`."""
    grams: npt.NDArray[np.int64]
    """The n-gram, by its place in the index."""


@dataclass(frozen=True)
class Overlaps:
    """What rows share with passages: one entry per row and passage, by row, then passage."""

    rows: npt.NDArray[np.int64]
    passages: npt.NDArray[np.int64]
    shares: npt.NDArray[np.float64]
    """Number of the passage's distinct n-grams that the row has."""
    hits: Hits
    """The n-grams that make them."""


@dataclass(frozen=True)
class NgramIndex:
    """The n-grams of passages. One of fewer than n words is one n-gram of that many, one of fewer than `least` has none."""

    n: int
    least: int
    keys: npt.NDArray[np.uint64]
    """Hashes, ascending; one that several passages have stands once for each."""
    owners: npt.NDArray[np.int32]
    """The passage of each, ascending for equal hashes."""
    sizes: npt.NDArray[np.int64]
    """Distinct n-grams of each passage."""
    filter: npt.NDArray[np.uint64]
    shorts: npt.NDArray[np.int64]
    """Lengths below n that some passage has, ascending."""
    heads: npt.NDArray[np.uint64]
    """Filter for the first `least` words of short passages."""

    @property
    def num_bytes(self) -> int:
        return sum(array.nbytes for array in (self.keys, self.owners, self.sizes, self.filter, self.heads))

    def find(self, words: Words) -> Hits:
        """All n-grams of the texts that are in the index."""
        folded = fold_words(words)
        room = 1 << 12
        while True:  # a text may be all n-grams of the index, but hardly any is: more room is made when it is needed
            found = np.empty((4, room), np.int64)
            used = _find(
                folded.firsts, folded.hashes, self.n, self.least, self.keys, self.filter, self.shorts, self.heads, found
            )
            if used <= room:
                break
            room = used
        rows, starts, sizes, grams = found[:, :used]
        return Hits(rows, folded.words[starts], folded.words[starts + sizes - 1], grams)

    def overlaps(self, words: Words, min_share: float = 0.0) -> Overlaps:
        """The passages of which a text has at least this share."""
        hits = self.find(words)
        # A row and an n-gram, then a row and a passage, are one number each, so that both can be counted by sorting.
        codes = hits.rows * len(self.keys) + hits.grams
        distinct = np.unique(codes)
        rows, grams = np.divmod(distinct, max(len(self.keys), 1))
        counts = np.searchsorted(self.keys, self.keys[grams], "right") - grams  # passages that have the n-gram
        places = np.repeat(np.arange(len(grams)), counts)
        offsets = np.arange(len(places)) - np.repeat(np.cumsum(counts) - counts, counts)
        pairs = rows[places] * len(self.sizes) + self.owners[grams[places] + offsets]
        pairs, inverse, shared = np.unique(pairs, return_inverse=True, return_counts=True)
        rows, passages = np.divmod(pairs, max(len(self.sizes), 1))
        shares = shared / self.sizes[passages]
        enough = shares >= min_share
        kept = np.isin(codes, distinct[places[enough[inverse]]])
        hits = Hits(hits.rows[kept], hits.starts[kept], hits.ends[kept], hits.grams[kept])
        return Overlaps(rows[enough], passages[enough], shares[enough], hits)


def index_passages(words: Words, n: int, least: int) -> NgramIndex:
    """The n-grams of passages, which are the rows of `words`."""
    folded = fold_words(words)
    counts = np.diff(folded.firsts)
    grams = np.where(counts < least, 0, np.maximum(counts - n + 1, 1))
    total = int(grams.sum())
    keys, owners = np.empty(total, np.uint64), np.empty(total, np.int32)
    _keys(folded.firsts, folded.hashes, grams, n, keys, owners)
    order = np.argsort(keys, kind="stable")
    keys, owners = keys[order], owners[order]
    fresh = np.ones(total, np.bool_)
    fresh[1:] = (keys[1:] != keys[:-1]) | (owners[1:] != owners[:-1])
    keys, owners = keys[fresh], owners[fresh]
    short = np.flatnonzero((counts >= least) & (counts < n))
    heads = np.empty(len(short), np.uint64)
    _heads(folded.firsts[short], folded.hashes, least, heads)
    return NgramIndex(
        n=n,
        least=least,
        keys=keys,
        owners=owners,
        sizes=np.bincount(owners, minlength=len(counts)),
        filter=_filter_of(keys),
        shorts=np.unique(counts[short]),
        heads=_filter_of(heads),
    )


def fold_words(words: Words) -> Folded:
    """The words that have a letter or digit, folded and hashed."""
    room = int(words.counts.sum())
    firsts, hashes, places = np.zeros(len(words) + 1, np.int64), np.empty(room, np.uint64), np.empty(room, np.int64)
    _fold(words.firsts, words.lasts, words.stream, words.starts, words.kinds, *folded_chars(), firsts, hashes, places)
    return Folded(firsts, hashes[: firsts[-1]], places[: firsts[-1]])


def fold(char: str) -> str:
    """What a character of a word counts as."""
    letters = _letters(char) if char.isalnum() else ""
    return _letters(letters.casefold())


def _letters(text: str) -> str:
    """The letters and digits of a text taken apart into base characters and marks."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKD", text)))


@cache
def folded_chars() -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """`fold` of every code point: 0 for nothing, the code point for one; for several, MORE and the place of their number in
    the second array, where they follow."""
    table, more = np.zeros(CODE_POINTS, np.uint32), [0]
    for code in np.flatnonzero(char_kinds() & ALNUM_CHAR).tolist():
        letters = fold(chr(code))
        if len(letters) == 1:
            table[code] = ord(letters)
        elif letters:
            table[code] = len(more) | int(MORE)
            more += [len(letters), *map(ord, letters)]
    table.flags.writeable = False
    return table, np.array(more, np.uint32)


def _filter_of(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    bits = np.zeros(1 << max(FILTER_BITS * len(keys) // 64, 1).bit_length(), np.uint64)
    _add(keys, bits)
    return bits


@njit(inline="always")
def _mark(key):  # type: ignore[no-untyped-def]
    """The three bits of a key in one number of a filter, by the key's lowest bits."""
    return ONE << (key & BITS) | ONE << (key >> SIX & BITS) | ONE << (key >> SIX >> SIX & BITS)


@njit(inline="always")
def _slot(key, mask):  # type: ignore[no-untyped-def]
    """The number they stand in, by the key's upper half. `mask`: how many numbers a filter has, less one."""
    return key >> HALF & mask


@njit(nogil=True, cache=True)
def _add(keys, bits):  # type: ignore[no-untyped-def]
    mask = np.uint64(len(bits) - 1)
    for i in range(len(keys)):
        bits[_slot(keys[i], mask)] |= _mark(keys[i])


@njit(inline="always")
def _key(gram, size):  # type: ignore[no-untyped-def]
    """The hash of an n-gram, of its polynomial and its length."""
    return fold_product(gram ^ SEED, LAST ^ np.uint64(size))


@njit(nogil=True, cache=True)
def _gram(hashes, start, size):  # type: ignore[no-untyped-def]
    """The polynomial of some words: the first has the highest power."""
    gram = np.uint64(0)
    for i in range(start, start + size):
        gram = gram * BASE + hashes[i]
    return gram


@njit(inline="always")
def _power(size):  # type: ignore[no-untyped-def]
    power = ONE
    for _ in range(size):
        power *= BASE
    return power


@njit(nogil=True, cache=True)
def _fold(row_firsts, row_lasts, stream, starts, kinds, table, more, firsts, hashes, places):  # type: ignore[no-untyped-def]
    """Fill the last three. The hash takes a step per folded code point."""
    base, used = stream.ctypes.data, np.int64(0)
    for row in range(len(row_firsts)):
        for word in range(row_firsts[row], row_lasts[row]):
            if not kinds[word] & ALNUM:
                continue
            i, end, value = np.int64(starts[word]), np.int64(starts[word + 1]), SEED
            while i < end:
                code, width = decode_char(base, i, end)
                i += width
                letter = table[code]
                if letter & MORE:
                    place = np.int64(letter & PLACE)
                    for k in range(place + 1, place + 1 + more[place]):
                        value = fold_product(value ^ np.uint64(more[k]), STEP)
                elif letter:
                    value = fold_product(value ^ np.uint64(letter), STEP)
            hashes[used] = fold_product(value ^ STEP, LAST)
            places[used] = word
            used += 1
        firsts[row + 1] = used


@njit(nogil=True, cache=True)
def _keys(firsts, hashes, grams, n, keys, owners):  # type: ignore[no-untyped-def]
    """Fill `keys` and `owners`: grams[r] n-grams of row r, of n words or of all it has."""
    used = 0
    for row in range(len(grams)):
        size = min(n, firsts[row + 1] - firsts[row])
        for i in range(firsts[row], firsts[row] + grams[row]):
            keys[used] = _key(_gram(hashes, i, size), size)
            owners[used] = row
            used += 1


@njit(nogil=True, cache=True)
def _heads(firsts, hashes, size, keys):  # type: ignore[no-untyped-def]
    """Fill `keys` with those of the first words of every row."""
    for row in range(len(firsts)):
        keys[row] = _key(_gram(hashes, firsts[row], size), size)


@njit(nogil=True, cache=True)
def _search(key, keys):  # type: ignore[no-untyped-def]
    """The first place of a key among sorted ones; -1 for none."""
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) >> 1
        if keys[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low if low < len(keys) and keys[low] == key else -1


@njit(nogil=True, cache=True)
def _note(at, row, start, size, found, used, room):  # type: ignore[no-untyped-def]
    """Write an n-gram down if it is in the index, and if there is room. Returns how many there are then."""
    if at < 0:
        return used
    if used < room:
        found[0, used], found[1, used], found[2, used], found[3, used] = row, start, size, at
    return used + 1


@njit(nogil=True, cache=True)
def _find(firsts, hashes, n, least, keys, bits, shorts, heads, found):  # type: ignore[no-untyped-def]
    """Fill row, first word, number of words and place in the index of every n-gram found. Returns how many there are, which
    may be more than there is room for."""
    used, room = 0, found.shape[1]
    mask, head_mask = np.uint64(len(bits) - 1), np.uint64(len(heads) - 1)
    out, head_out = _power(n), _power(least)
    for row in range(len(firsts) - 1):
        first, last = firsts[row], firsts[row + 1]
        gram = head = np.uint64(0)
        for i in range(first, last):
            gram = gram * BASE + hashes[i]
            if i - n >= first:
                gram -= out * hashes[i - n]
            if i - n >= first - 1:
                key = _key(gram, n)
                mark = _mark(key)
                if bits[_slot(key, mask)] & mark == mark:
                    used = _note(_search(key, keys), row, i - n + 1, n, found, used, room)
        if not len(shorts):
            continue
        for i in range(first, last):
            head = head * BASE + hashes[i]
            if i - least >= first:
                head -= head_out * hashes[i - least]
            if i - least >= first - 1:
                key = _key(head, least)
                mark = _mark(key)
                if heads[_slot(key, head_mask)] & mark == mark:
                    start = i - least + 1
                    for k in range(len(shorts)):
                        if start + shorts[k] <= last:
                            at = _search(_key(_gram(hashes, start, shorts[k]), shorts[k]), keys)
                            used = _note(at, row, start, shorts[k], found, used, room)
    return used
