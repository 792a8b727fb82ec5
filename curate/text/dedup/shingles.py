"""The shingles of a text, the n-grams that near-duplicates share, as one 64-bit hash each.

- `word_shingles`: n words with a letter or digit each, without regard to case, so that layout and signs do not matter.
- `char_shingles`: n characters of a text that the caller has normalised (`text/normalize.py`).
- `token_shingles`: n words of any kind, as they stand.
- `datatrove_shingles`: those of datatrove 0.10, of spaCy's words of the simplified text, bit for bit.

Ours are `hash_bytes` of a word's bytes in lower case, folded over the n words: the same on every machine, and as good as the
version of `text/hashing.py`. Lower case is `str.casefold` where that is one character, else `str.lower` where that is one.

A text with fewer than n words is `short`: its one shingle is of all its words, and equal only for the same words. One without
words has none. datatrove gives no short text a shingle.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from numba import njit

from curate.text.unicode.buffers import TextBuffers
from curate.text.unicode.chars import CODE_POINTS, every_code_point
from curate.text.unicode.hashing import LAST, SEED, STEP, fold_product, hash_bytes, load_byte, load_some, load_u64
from curate.text.unicode.utf8 import decode_char
from curate.text.words.types import ALNUM, Words

DatatroveHash = Literal["xxhash64", "sha1"]

ONES = 0x0101010101010101
TOPS = np.uint64(0x80 * ONES)
FROM_A, AFTER_Z = (np.uint64((0x80 - code) * ONES) for code in (ord("A"), ord("Z") + 1))
TO_LOWER = np.uint64(2)  # the top bit of a byte, shifted so far, is 0x20

# The primes of XXH64 (Yann Collet, xxhash_spec.md).
P1, P2, P3, P4, P5 = (
    np.uint64(prime)
    for prime in (
        0x9E3779B185EBCA87,
        0xC2B2AE3D27D4EB4F,
        0x165667B19E3779F9,
        0x85EBCA77C2B2AE63,
        0x27D4EB2F165667C5,
    )
)


@dataclass(frozen=True)
class Shingles:
    """Row r has hashes[bounds[r]:bounds[r + 1]], in the order of the text, repeated ones repeated."""

    bounds: npt.NDArray[np.int64]
    """Shape (rows + 1,)."""
    hashes: npt.NDArray[np.uint64]
    short: npt.NDArray[np.bool_]
    """Shape (rows,): fewer words or characters than n. The shingle, if there is one, is of all of them."""

    def __len__(self) -> int:
        return len(self.short)


def word_shingles(words: Words, n: int = 5) -> Shingles:
    """n-grams of the words that have a letter or digit, in lower case."""
    _check(n)
    count = int(words.counts.sum())
    keys, bounds = np.empty(count, np.uint64), np.zeros(len(words) + 1, np.int64)
    short = np.empty(len(words), np.bool_)
    longest = int(np.diff(words.starts).max(initial=0))
    scratch = np.empty(4 * longest + 8, np.uint8)
    used = _word_shingles(
        words.firsts, words.lasts, words.stream, words.stream.ctypes.data, words.starts, words.kinds,
        n, _lower_codes(), scratch, scratch.ctypes.data, keys, bounds, short,
    )  # fmt: skip
    return Shingles(bounds, keys[:used], short)


def token_shingles(words: Words, n: int, least: int) -> Shingles:
    """n-grams of all words, as they stand. A text of fewer has one, of all its words, if it has `least` of them, else none."""
    _check(n)
    counts = words.counts
    sizes = np.where(counts >= n, counts - n + 1, (counts >= max(1, least)).astype(np.int64))
    bounds = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    hashes = np.empty(bounds[-1], np.uint64)
    _token_shingles(words.firsts, words.lasts, words.hashes, n, bounds, hashes)
    return Shingles(bounds, hashes, counts < n)


def char_shingles(texts: TextBuffers, n: int = 24) -> Shingles:
    """n-grams of characters, as they stand."""
    _check(n)
    rows, size = len(texts.starts), int((texts.ends - texts.starts).sum())
    keys, bounds, short = np.empty(size, np.uint64), np.zeros(rows + 1, np.int64), np.empty(rows, np.bool_)
    used = _char_shingles(texts.data.ctypes.data, len(texts.data), texts.starts, texts.ends, n, keys, bounds, short)
    return Shingles(bounds, keys[:used], short)


def datatrove_shingles(words: Words, n: int = 5, kind: DatatroveHash = "xxhash64") -> Shingles:
    """n-grams of words joined by a blank, hashed as datatrove does. `words`: unit `spacy`, of simplified texts.

    `sha1` (FineWeb's choice) goes through `hashlib`, one call per shingle, and takes most of the time then.
    """
    _check(n)
    counts = words.counts
    short = counts < n
    bounds = np.concatenate([[0], np.cumsum(np.where(short, 0, counts - n + 1))]).astype(np.int64)
    joined = np.empty(len(words.stream) + int(counts.sum()), np.uint8)
    starts, ends = np.empty(bounds[-1], np.int64), np.empty(bounds[-1], np.int64)
    _join(words.firsts, words.lasts, words.stream, words.starts, n, joined, starts, ends)
    if kind == "sha1":
        data = joined.tobytes()
        digests = b"".join(hashlib.sha1(data[a:b]).digest()[:8] for a, b in zip(starts.tolist(), ends.tolist(), strict=True))
        return Shingles(bounds, np.frombuffer(digests, "<u8").astype(np.uint64), short)
    hashes = np.empty(len(starts), np.uint64)
    _hash_runs(joined.ctypes.data, starts, ends, hashes)
    return Shingles(bounds, hashes, short)


def _check(n: int) -> None:
    if n < 1:
        raise ValueError(f"ngram ({n}) must be at least 1")


@cache
def _lower_codes() -> npt.NDArray[np.uint32]:
    """The lower case of every code point. Shape (0x110000,), read-only."""
    codes = np.arange(CODE_POINTS, dtype=np.uint32)
    for code, char in enumerate(every_code_point()):
        folded = char.casefold()
        lower = folded if len(folded) == 1 else char.lower()
        if lower != char and len(lower) == 1:
            codes[code] = ord(lower)
    codes.flags.writeable = False
    return codes


@njit(nogil=True, cache=True)
def _lower(base, start, end, lower_codes, scratch):  # type: ignore[no-untyped-def]
    """Write the bytes start .. end in lower case into `scratch`; returns how many."""
    i, used = start, 0
    while i < end:
        code, width = decode_char(base, i, end)
        code = lower_codes[code]
        if code < 0x80:
            scratch[used] = code
            used += 1
        else:
            more = 1 if code < 0x800 else 2 if code < 0x10000 else 3
            scratch[used] = (0xFF00 >> (more + 1)) & 0xFF | code >> (6 * more)
            for k in range(more):
                scratch[used + 1 + k] = 0x80 | code >> (6 * (more - 1 - k)) & 0x3F
            used += more + 1
        i += width
    return used


@njit(nogil=True, cache=True)
def _word_shingles(firsts, lasts, stream, base, starts, kinds, n, lower_codes, scratch, room, keys, bounds, short):  # type: ignore[no-untyped-def]
    """Fill the last three; returns the number of shingles. Words' hashes stand in `keys` until their n-grams replace them."""
    limit, used = len(stream), np.int64(0)
    for row in range(len(firsts)):
        count = np.int64(0)
        for word in range(firsts[row], lasts[row]):
            if not kinds[word] & ALNUM:
                continue
            start, end = np.int64(starts[word]), np.int64(starts[word + 1])
            value, met, i = SEED ^ np.uint64(end - start), np.uint64(0), start
            while i < end:
                eight = load_some(base, i, end, limit)
                met |= eight
                upper = (eight + FROM_A) & ~(eight + AFTER_Z) & TOPS
                value = fold_product(value ^ (eight + (upper >> TO_LOWER)), STEP)
                i += 8
            value = fold_product(value ^ STEP, LAST)
            if met & TOPS:
                value = hash_bytes(room, 0, _lower(base, start, end, lower_codes, scratch), len(scratch))
            keys[np.uint64(used + count)] = value
            count += 1
        size = min(count, n)
        first = used
        if count:
            used += count - size + 1
        for gram in range(first, used):
            value = SEED ^ np.uint64(size)
            for k in range(gram, gram + size):
                value = fold_product(value ^ keys[np.uint64(k)], STEP)
            keys[np.uint64(gram)] = fold_product(value ^ STEP, LAST)
        short[row] = count < n
        bounds[row + 1] = used
    return used


@njit(nogil=True, cache=True)
def _token_shingles(firsts, lasts, words, n, bounds, hashes):  # type: ignore[no-untyped-def]
    for row in range(len(firsts)):
        for gram in range(bounds[row], bounds[row + 1]):
            start = firsts[row] + gram - bounds[row]
            end = min(start + n, lasts[row])
            value = SEED ^ np.uint64(end - start)
            for k in range(start, end):
                value = fold_product(value ^ words[k], STEP)
            hashes[gram] = fold_product(value ^ STEP, LAST)


@njit(nogil=True, cache=True)
def _char_shingles(base, limit, starts, ends, n, keys, bounds, short):  # type: ignore[no-untyped-def]
    """Fill the last three; returns the number of shingles. A byte that continues no character begins none."""
    used = np.int64(0)
    for row in range(len(starts)):
        start, end = starts[row], ends[row]
        last, ahead = start, 0  # `ahead` characters stand from `start` to `last`
        first = used
        while start < end:
            while last < end and ahead < n:
                last += 1
                while last < end and load_byte(base + last) & np.uint64(0xC0) == np.uint64(0x80):
                    last += 1
                ahead += 1
            if ahead < n and used > first:
                break
            keys[used] = hash_bytes(base, start, last, limit)
            used += 1
            if ahead < n:
                break
            start += 1
            while start < end and load_byte(base + start) & np.uint64(0xC0) == np.uint64(0x80):
                start += 1
            ahead -= 1
        short[row] = used == first or (used == first + 1 and ahead < n and last == end and start == starts[row])
        bounds[row + 1] = used
    return used


@njit(nogil=True, cache=True)
def _join(firsts, lasts, stream, word_starts, n, joined, starts, ends):  # type: ignore[no-untyped-def]
    """Write words with a blank behind each, and where n-grams of them start and end."""
    at, used = np.int64(0), np.int64(0)
    for row in range(len(firsts)):
        begin = used
        for word in range(firsts[row], lasts[row]):
            place = word - firsts[row]
            if word + n <= lasts[row]:
                starts[at + place] = used
            for k in range(word_starts[word], word_starts[word + 1]):
                joined[used] = stream[k]
                used += 1
            if place + 1 >= n:
                ends[at + place + 1 - n] = used
            joined[used] = ord(" ")
            used += 1
        if used > begin:
            at += max(0, lasts[row] - firsts[row] - n + 1)


@njit(inline="always")
def _rotate(value, bits):  # type: ignore[no-untyped-def]
    return value << np.uint64(bits) | value >> np.uint64(64 - bits)


@njit(inline="always")
def _round(lane, eight):  # type: ignore[no-untyped-def]
    return _rotate(lane + eight * P2, 31) * P1


@njit(inline="always")
def xxhash64(base, start, end):  # type: ignore[no-untyped-def]
    """XXH64 with seed 0 of the bytes at addresses base + start to base + end (exclusive)."""
    size, i = end - start, start
    value = P5
    if size >= 32:
        one, two, three, four = P1 + P2, P2, np.uint64(0), np.uint64(0) - P1
        while i + 32 <= end:
            one, two = _round(one, load_u64(base + i)), _round(two, load_u64(base + i + 8))
            three, four = _round(three, load_u64(base + i + 16)), _round(four, load_u64(base + i + 24))
            i += 32
        value = _rotate(one, 1) + _rotate(two, 7) + _rotate(three, 12) + _rotate(four, 18)
        value = (value ^ _round(np.uint64(0), one)) * P1 + P4
        value = (value ^ _round(np.uint64(0), two)) * P1 + P4
        value = (value ^ _round(np.uint64(0), three)) * P1 + P4
        value = (value ^ _round(np.uint64(0), four)) * P1 + P4
    value += np.uint64(size)
    while i + 8 <= end:
        value = _rotate(value ^ _round(np.uint64(0), load_u64(base + i)), 27) * P1 + P4
        i += 8
    if i + 4 <= end:
        value = _rotate(value ^ load_some(base, i, i + 4, end) * P1, 23) * P2 + P3
        i += 4
    while i < end:
        value = _rotate(value ^ load_byte(base + i) * P5, 11) * P1
        i += 1
    value = (value ^ value >> np.uint64(33)) * P2
    value = (value ^ value >> np.uint64(29)) * P3
    return value ^ value >> np.uint64(32)


@njit(nogil=True, cache=True)
def _hash_runs(base, starts, ends, hashes):  # type: ignore[no-untyped-def]
    for k in range(len(starts)):
        hashes[k] = xxhash64(base, starts[k], ends[k])
