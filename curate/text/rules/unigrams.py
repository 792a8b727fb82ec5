"""The mean log-probability of words under a table of word counts: reads the table, and looks words up where they lie.

The definitions are those of the stage `unigram_logprob`. A word is found by its bytes, not by its hash alone. It is taken to
lower case eight bytes at a time where it is ASCII, code point by code point otherwise; `str.lower` itself is called for words
with 'İ', whose lower case is two code points, and with a capital sigma that may be a final one.

Decisions. Words are hashed here and not looked up by the hashes they came with, which are of the words as written. In the
table a word lies in whole 64-bit numbers, padded with zeros, so that it is compared as it is hashed. A slot has half of a hash
above the place of its word, so that the search for a word that is not there ends without a look at any other.
150 MB of web text a second with a table of 333,333 words, on one core of an Intel Xeon (Sapphire Rapids) that others used too.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from numba import njit

from curate.errors import SpecError
from curate.storage import store
from curate.text.unicode.chars import CODE_POINTS, every_code_point, lower_chars
from curate.text.unicode.hashing import LAST, SEED, STEP, fold_product, load_some
from curate.text.unicode.utf8 import decode_char
from curate.text.words.types import Words

CASED = np.uint32(1 << 31)
"""Marks, in the table of lower case, letters before which a capital sigma is no final one."""
LOWER_BITS = np.uint32(2**31 - 1)
HARD = LOWER_BITS
"""Stands in that table for characters whose lower case is not one code point."""
SIGMA = np.uint32(0x3A3)
DOTTED_I = 0x130

EIGHT_ONES = 0x0101010101010101
TOPS = np.uint64(0x80 * EIGHT_ONES)  # the bit that no byte of ASCII has
# Added to a byte of ASCII, these set its top bit if it is at least the character.
FROM_A, AFTER_Z = (np.uint64((0x80 - code) * EIGHT_ONES) for code in (ord("A"), ord("Z") + 1))
HALF = np.uint64(32)
HEAD = 2
"""Numbers of a record before the word itself."""
LOW_HALF = np.uint64(2**32 - 1)


@dataclass(frozen=True)
class Unigrams:
    """What is known of every word lies together, so that finding one costs two misses of the cache and not five."""

    records: npt.NDArray[np.uint64]
    """One entry per word: length in bytes; log-probability, as the bits of a float64; bytes, padded with zeros."""
    slots: npt.NDArray[np.uint64]
    """A power of two of them: the upper half of a word's hash above the place of its record plus one; 0 is free."""
    longest: int
    """Bytes of the longest word."""
    total: int
    """Sum of all counts."""
    lowercase: bool


def read_unigrams(path: str, *, lowercase: bool) -> Unigrams:
    """The table in a file of lines `word,count` or `word<tab>count`. Raises SpecError for a line that is neither.

    Counts of a word that stands there more than once, or more than once in lower case, are added up.
    """
    counts: dict[str, int] = {}
    for word, count in _entries(path):
        key = word.lower() if lowercase else word
        counts[key] = counts.get(key, 0) + count
    if not counts:
        raise SpecError(f"{path}: there are no words in it. Give lines 'word,count'")
    return _table(
        [word.encode() for word in counts], np.array(list(counts.values()), np.float64), sum(counts.values()), lowercase
    )


def _entries(path: str) -> Iterator[tuple[str, int]]:
    number = 0
    try:
        with store.open_decompressed(path) as raw:
            lines = io.TextIOWrapper(raw, "utf-8-sig", newline="")
            for number, row in enumerate(_rows(lines), 1):
                if len(row) == 2 and row[0] and row[1].isascii() and row[1].isdigit() and int(row[1]):
                    yield row[0], int(row[1])
                elif number > 1 or len(row) != 2 or row[1][:1].isdigit():  # the first line may be a header
                    raise SpecError(f"{path}: line {number}: {row!r} is no word and count. Give lines 'word,count', from 1 up")
    except (UnicodeDecodeError, csv.Error) as error:
        raise SpecError(f"{path}: line {number + 1}: {error}. Give UTF-8 text with lines 'word,count'") from error


def _rows(lines: io.TextIOWrapper) -> Iterator[list[str]]:
    """Tabs part the columns where the first line has one, and quotation marks are words like others then."""
    first = lines.readline()
    if not first:
        return
    if "\t" not in first:
        yield from csv.reader([first])
        yield from csv.reader(lines, strict=True)
        return
    for line in (first, *lines):
        yield line.rstrip("\r\n").split("\t")


def _table(words: Sequence[bytes], counts: npt.NDArray[np.float64], total: int, lowercase: bool) -> Unigrams:
    sizes = np.array([len(word) for word in words], np.int64)
    widths = HEAD + (sizes + 7 >> 3)
    places = np.cumsum(widths) - widths
    padded = (bytes(8 * HEAD) + word.ljust(-len(word) // 8 * -8, b"\0") for word in words)
    records = np.frombuffer(b"".join(padded), np.uint64).copy()
    records[places] = sizes
    records[places + 1] = np.log(counts / total).view(np.uint64)
    slots = np.zeros(2 ** (2 * len(words)).bit_length(), np.uint64)
    _fill(records, places, slots)
    return Unigrams(records, slots, int(sizes.max()), total, lowercase)


@njit(nogil=True, cache=True)
def _fill(records, places, slots):  # type: ignore[no-untyped-def]
    """Give every word the first free slot from the one that its hash names."""
    mask = np.uint64(len(slots) - 1)
    for place in places:
        size = np.int64(records[place])
        value = SEED ^ np.uint64(size)
        for k in range((size + 7) >> 3):
            value = fold_product(value ^ records[place + HEAD + k], STEP)
        value = fold_product(value ^ STEP, LAST)
        at = value & mask
        while slots[at]:
            at = (at + np.uint64(1)) & mask
        slots[at] = value >> HALF << HALF | np.uint64(place + 1)


def unigram_scorer(table: Unigrams, unknown: float, kind: int) -> Callable[[Words], npt.NDArray[np.float64]]:
    """A function from words to the mean log-probability of every row; 0 without words.

    Unknown words have log-probability `unknown`; words without the bits `kind` are left out.
    """
    lower = _lower_table()

    def score(words: Words) -> npt.NDArray[np.float64]:
        sums, counts, hard = _run(words, kind, table.lowercase)
        if len(hard):
            rows, places = hard[:, 0], hard[:, 1]
            sums += np.bincount(rows, _by_str(words, places), len(sums))
        return np.asarray(sums / np.maximum(counts, 1))

    def _run(
        words: Words, kind: int, lowercase: bool
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        sums, counts = np.zeros(len(words), np.float64), np.zeros(len(words), np.int64)
        hard = np.empty((int(words.counts.sum()), 2), np.int64)  # untouched pages cost nothing
        scratch = np.zeros(table.longest + 2, np.uint64)
        places = (words.stream, words.stream.ctypes.data, words.starts, words.kinds, words.firsts, words.lasts)
        entries = (table.records, table.records.view(np.float64), table.slots)
        used = _score(*places, *entries, lower, table.longest, unknown, kind, lowercase, scratch, sums, counts, hard)
        return sums, counts, hard[:used]

    def _by_str(words: Words, places: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Log-probabilities of single words, by `str.lower`."""
        bounds = zip(words.starts[places].tolist(), words.starts[places + 1].tolist(), strict=True)
        lowered = [words.stream[a:b].tobytes().decode("utf-8", "replace").lower().encode() for a, b in bounds]
        return _run(_single_words(lowered), 0, False)[0]

    return score


def _single_words(words: Sequence[bytes]) -> Words:
    """One word a row, with nothing but its bytes."""
    count = len(words)
    starts = np.concatenate([[0], np.cumsum([len(word) for word in words])]).astype(np.int32)
    rows = np.arange(count + 1)
    nothing = np.zeros(count, np.uint8)
    stream = np.frombuffer(b"".join(words), np.uint8).copy()  # a read-only one would be compiled for once more
    return Words(rows[:-1], rows[1:], stream, starts, starts, nothing.astype(np.uint64), nothing)


@cache
def _lower_table() -> npt.NDArray[np.uint32]:
    """Lower case of every code point (HARD for 'İ') with the bit CASED. Shape (0x110000,)."""
    text = every_code_point()
    table = np.arange(CODE_POINTS, dtype=np.uint32)
    for char, lower in lower_chars().items():
        table[ord(char)] = ord(lower)
    table[DOTTED_I] = HARD
    # Of these no character is one that the rule for final sigma looks past.
    cased = np.fromiter((unicodedata.category(char) in ("Lu", "Ll", "Lt") for char in text), np.bool_, CODE_POINTS)
    table[cased] |= CASED
    table.flags.writeable = False
    return table


@njit(nogil=True, cache=True)
def _score(  # type: ignore[no-untyped-def]
    stream, base, starts, kinds, row_firsts, row_lasts, records, logprobs, slots, lower, longest, unknown, kind,
    lowercase, scratch, sums, counts, hard,
):  # fmt: skip
    """Fill `sums` and `counts`; returns how many rows of `hard` were filled with (row, word), words left out of the sum.

    `base` is the address of `stream`. A word in lower case is no longer than one and a half times the word, and no shorter
    than a third of it.
    """
    mask, limit, used = np.uint64(len(slots) - 1), len(stream), 0
    for row in range(len(row_firsts)):
        total, count = 0.0, 0
        for word in range(row_firsts[row], row_lasts[row]):
            if kinds[word] & kind != kind:
                continue
            count += 1
            start, end = np.int64(starts[word]), np.int64(starts[word + 1])
            size = int(end - start)
            if size > 3 * longest:
                total += unknown
                continue
            met, i, k = np.uint64(0), start, 0
            while i < end:
                eight = load_some(base, i, end, limit)
                met |= eight
                if lowercase:
                    eight += ((eight + FROM_A) & ~(eight + AFTER_Z) & TOPS) >> np.uint64(2)
                scratch[k] = eight
                i += 8
                k += 1
            if lowercase and met & TOPS:
                i, size, eight, sigma, past = start, 0, np.uint64(0), False, False
                while i < end:
                    code, width = decode_char(base, i, end)
                    i += width
                    small = lower[code]
                    if sigma and not small & CASED:
                        break
                    sigma = code == SIGMA
                    small &= LOWER_BITS
                    if small == HARD:
                        past = True
                        break
                    width = 1 if small < 0x80 else 2 if small < 0x800 else 3 if small < 0x10000 else 4
                    for n in range(width):
                        if width == 1:
                            byte = np.uint64(small)
                        elif n == 0:
                            byte = np.uint64((0xF00 >> width & 0xFF) | small >> np.uint32(6 * (width - 1)))
                        else:
                            byte = np.uint64(0x80 | small >> np.uint32(6 * (width - 1 - n)) & 0x3F)
                        eight |= byte << np.uint64(8 * (size & 7))
                        size += 1
                        if size & 7 == 0:
                            scratch[(size >> 3) - 1] = eight
                            eight = np.uint64(0)
                scratch[size >> 3] = eight
                if sigma or past:
                    hard[used, 0], hard[used, 1] = row, word
                    used += 1
                    continue
            value = SEED ^ np.uint64(size)
            width = size + 7 >> 3
            for k in range(width):
                value = fold_product(value ^ scratch[k], STEP)
            value = fold_product(value ^ STEP, LAST)
            at, logprob = value & mask, unknown
            while slots[at]:
                if slots[at] >> HALF == value >> HALF:
                    place = np.int64(slots[at] & LOW_HALF) - 1
                    if records[place] == np.uint64(size):
                        k = 0
                        while k < width and records[place + HEAD + k] == scratch[k]:
                            k += 1
                        if k == width:
                            logprob = logprobs[place + 1]
                            break
                at = (at + np.uint64(1)) & mask
            total += logprob
        sums[row] = total
        counts[row] = count
    return used
