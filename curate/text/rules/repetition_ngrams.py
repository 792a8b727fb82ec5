"""How much of a text its repeated n-grams take, as Gopher's repetition rules ask (Rae et al. 2021, appendix A.1.1).

Implementations differ in what they count; `Counting` says how. Numbers are characters (code points) of words.

A hash table per document would have to be emptied for each; here one table is used for all, and a slot is taken for empty
if its stamp is older than the document. n-grams are told apart by 64-bit hashes.

Few n-grams are worth counting. What occurs once is mostly told by a first pass that counts hashes in bytes, some per word,
which stay in the nearest cache. An n-gram of words occurs twice only where both (n-1)-grams in it do. Words joined without
blanks, which datatrove compares, have no such order ("ab c" is "a bc"); but two equal runs of 12 bytes or more begin with the
same 12 bytes, and of 24 with the same 24: on web text 0.37 n-grams per word are looked up instead of six.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from numba import njit

from curate.text.unicode.hashing import fold_product, hash_bytes, load_some, load_u64
from curate.text.words.types import Words

TOP, DUP = (2, 3, 4), (5, 6, 7, 8, 9, 10)
"""Values of n for which the most frequent n-gram is measured, and those for which all repeated n-grams are."""
JUMP, UNION, SHARE = 0, 1, 2
COUNT_BITS = np.uint64(26)
COUNT_MASK = np.uint64((1 << 26) - 1)
LAST_STAMP = 1 << 37
SIEVE = 16
"""Bytes per word of the table in which a first pass counts hashes, and which tells most of what occurs once."""
SHORT, LONG, LONGEST = 12, 24, 2**31 - 1
SHORT_KEY, LONG_KEY = np.uint64(0xD6E8FEB86659FD93), np.uint64(0xA5CB9243F2CED0C5)
KEY = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Counting:
    """What an implementation counts."""

    blanks: bool
    """The most frequent n-gram's length has the blanks between its words."""
    ties: Literal["first", "longest"]
    """Which of several most frequent n-grams counts."""
    once: bool
    """A most frequent n-gram counts even if it occurs only once."""
    repeated: Literal["jump", "union", "share"]
    """jump: read from left to right, an n-gram (its words joined without blanks) met before counts and the reading goes on
    behind it. union: all words that are part of an n-gram that occurs twice count, each once. share: as `union`, but every
    occurrence counts in full, overlapping or not, and so does the total."""


class NgramCounter:
    """Measures repeated n-grams; keeps scratch memory of the size of the longest text so far."""

    def __init__(self, counting: Counting) -> None:
        self._how = counting
        self._table = np.zeros((1 << 12, 2), np.uint64)
        self._stamp = np.ones(1, np.int64)
        self._make_room(1 << 10)

    def _make_room(self, words: int) -> None:
        self._grams, self._slots = np.zeros(words, np.uint64), np.zeros(words, np.int32)
        self._level, self._live = np.zeros(words + 1, np.int8), np.zeros(words + 1, np.int32)
        self._met = np.zeros(2 * SIEVE * words + 1024, np.uint8)

    def __call__(self, words: Words) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Characters of the most frequent n-gram and of repeated ones, shape (rows, 9), and of what they are a share, same
        shape: 0 where it is for the caller to say."""
        longest = int(words.counts.max(initial=0))
        if longest > len(self._grams):
            self._make_room(longest)
        while len(self._table) <= 2 * longest:
            self._table = np.zeros((2 * len(self._table), 2), np.uint64)
        if self._stamp[0] > LAST_STAMP:
            self._table[:], self._stamp[0] = 0, 1
        shape = (len(words), len(TOP) + len(DUP))
        parts, wholes = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        how = self._how
        _measure(
            words.firsts, words.lasts, words.stream, words.starts, words.chars, words.hashes,
            how.blanks, how.ties == "longest", how.once, ("jump", "union", "share").index(how.repeated),
            self._table, self._stamp, self._grams, self._slots, self._level, self._live, self._met, parts, wholes,
        )  # fmt: skip
        return parts, wholes


@njit(inline="always")
def _count(table, gram, mask, oldest, i):  # type: ignore[no-untyped-def]
    """Count an n-gram at position i. Returns its slot, which holds the hash, and the first position and the count."""
    at = np.int64(gram) & mask
    while np.int64(table[at, 1] >> COUNT_BITS) >= oldest and table[at, 0] != gram:
        at = (at + 1) & mask
    if np.int64(table[at, 1] >> COUNT_BITS) < oldest:
        table[at, 0], table[at, 1] = gram, np.uint64(oldest + i) << COUNT_BITS | np.uint64(1)
    else:
        table[at, 1] += np.uint64(1)
    return at


@njit(inline="always")
def _mask(least, size):  # type: ignore[no-untyped-def]
    """One less than a power of two, and at least `least` and `size`."""
    mask = least
    while mask < size:
        mask = 2 * mask + 1
    return mask


@njit(inline="always")
def _measure_joined(base, limit, first, size, sieve, starts, chars, table, stamp, grams, slots, live, met, part):  # type: ignore[no-untyped-def]
    """Add to `part`, of each n from 5, the characters of the n-grams that were met before, read as JUMP says.

    What n-grams begin with tells most that do not occur twice: those of 12 bytes and more, then those of 24.
    """
    end = np.int64(starts[first + size])
    met[: sieve + 1] = 0
    for i in range(size - 4):
        begin = np.int64(starts[first + i])
        grams[i] = 0
        if begin + SHORT <= end:
            four = load_some(base, begin + 8, begin + SHORT, limit)
            grams[i] = fold_product(load_u64(base + begin) ^ KEY, four ^ SHORT_KEY)
            at = np.int64(grams[i]) & sieve
            met[at] = met[at] << 1 | 1
    alive = 0
    for i in range(size - 4):
        twice = met[np.int64(grams[i]) & sieve] > 1
        live[alive], slots[alive] = i, LONGEST if twice else SHORT
        alive += twice or starts[first + i + 5] - starts[first + i] < SHORT
    met[: sieve + 1] = 0
    for k in range(alive):
        i = live[k]
        begin = np.int64(starts[first + i])
        if slots[k] == LONGEST and begin + LONG <= end:
            gram = fold_product(load_u64(base + begin) ^ KEY, load_u64(base + begin + 8) ^ LONG_KEY)
            grams[i] = fold_product(gram ^ load_u64(base + begin + 16), KEY)
            at = np.int64(grams[i]) & sieve
            met[at] = met[at] << 1 | 1
    for k in range(alive):
        i = live[k]
        if slots[k] == LONGEST and starts[first + i] + LONG <= end and met[np.int64(grams[i]) & sieve] < 2:
            slots[k] = LONG
    mask = _mask(63, 2 * alive)
    for n in range(5, 11):
        oldest = stamp[0]
        stamp[0] += size
        covered, looked = 0, 0
        for k in range(alive):
            i = np.int64(live[k])
            if i + n > size:
                break
            begin, stop = np.int64(starts[first + i]), np.int64(starts[first + i + n])
            if stop - begin >= slots[k]:
                continue
            live[looked], slots[looked] = i, slots[k]
            looked += 1
            if i < covered:
                continue
            at = _count(table, hash_bytes(base, begin, stop, limit), mask, oldest, i)
            if table[at, 1] & COUNT_MASK > 1:
                part[n - 2] += chars[first + i + n] - chars[first + i]
                covered = i + n
        alive = looked


@njit(nogil=True, cache=True)
def _measure(  # type: ignore[no-untyped-def]
    firsts, lasts, stream, starts, chars, hashes, blanks, longest, once, repeated,
    table, stamp, grams, slots, level, live, met, parts, wholes,
):  # fmt: skip
    """Fill one row of `parts` and `wholes` per text."""
    base, limit = stream.ctypes.data, len(stream)
    for row in range(len(firsts)):
        first, size = firsts[row], lasts[row] - firsts[row]
        if size < 2:
            continue
        sieve = _mask(1023, SIEVE * size)
        met[: sieve + 1] = 0
        for i in range(size - 1):
            gram = fold_product(hashes[first + i] ^ KEY, hashes[first + i + 1] + np.uint64(2))
            grams[i] = gram
            at = np.int64(gram) & sieve
            met[at] = met[at] << 1 | 1
        alive = 0
        for i in range(size - 1):
            level[i] = 1
            live[alive] = i
            alive += met[np.int64(grams[i]) & sieve] > 1
        level[size - 1] = 1
        level[size] = 0
        for n in range(2, 11):
            if n > size or (n > 4 and repeated == JUMP):
                break
            mask = _mask(63, 2 * alive)
            oldest = stamp[0]
            stamp[0] += size
            best, best_length, best_at, looked = 0, 0, 0, 0
            for k in range(alive):
                i = live[k]
                if n > 2:
                    if i + n > size or level[i + 1] < n - 1:
                        continue
                    grams[i] = fold_product(grams[i] ^ KEY, hashes[first + i + n - 1] + np.uint64(n))
                at = _count(table, grams[i], mask, oldest, i)
                count = np.int64(table[at, 1] & COUNT_MASK)
                if n < 5 and count > 1 and count >= best:
                    at_first = np.int64(table[at, 1] >> COUNT_BITS) - oldest
                    length = chars[first + i + n] - chars[first + i]
                    if count > best or (length > best_length if longest else at_first < best_at):
                        best, best_length, best_at = count, length, at_first
                slots[i] = at
                live[looked] = i
                looked += 1
            alive = 0
            for k in range(looked):
                i = live[k]
                if table[slots[i], 1] & COUNT_MASK >= 2:
                    level[i] = n
                    live[alive] = i
                    alive += 1
            if n < 5:
                if not best and once:
                    best, best_length = 1, chars[first + n] - chars[first]
                parts[row, n - 2] = best * (best_length + (n - 1 if blanks else 0))
                continue
            covered = 0
            for k in range(alive):
                i = live[k]
                start = max(covered, i) if repeated == UNION else i
                parts[row, n - 2] += chars[first + i + n] - chars[first + start]
                covered = i + n
            if repeated == SHARE:
                for i in range(size - n + 1):
                    wholes[row, n - 2] += chars[first + i + n] - chars[first + i]
        if repeated == JUMP and size >= 5:
            _measure_joined(base, limit, first, size, sieve, starts, chars, table, stamp, grams, slots, live, met, parts[row])
