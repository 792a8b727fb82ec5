"""Cuts rows of text into spaCy's words: chunk after chunk from a table of chunks, or by the rules.

Decisions. Slots hold a 64-bit hash, the length and the first eight bytes of a chunk, not all of it: chunks up to eight bytes
are told apart exactly, longer ones with an error of 2**-64 per pair that also agrees in those. Nine of ten chunks of web text
are plain: ASCII letters, perhaps with a mark behind them that is cut off. These are not even looked up, but for a bit by
which words that some rule asks for are known.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from curate.text.unicode.chars import SPACE
from curate.text.unicode.hashing import (
    LAST,
    SEED,
    STEP,
    fold_product,
    hash_bytes,
    load_byte,
    load_some,
    load_u64,
    prefetch,
    store_u64,
    trailing_zeros,
)
from curate.text.unicode.utf8 import decode_char, decode_last
from curate.text.words.spacy_cut import ASK_SPECIAL, ASK_URL, DOT, ChunkRules, ChunkScratch, cut_chunk
from curate.text.words.stream import AFTER_Z, FROM_A, TOPS
from curate.text.words.stream import LOWER as LOWER_CASE
from curate.text.words.types import ALNUM, ALPHA, FIRST_ALNUM, GAP, PERIOD, PUNCT, SOLID

QUEUE = 32
"""Chunks whose slots are asked for before the first is looked at."""
MAX_STORED = 0xFFFF
TOUCHY = 128
"""In the kinds of a stored chunk: spaCy may have made a special word inside it."""
FOUND, ASK, ROOM = 0, 1, 2
"""What became of a row: cut; spaCy is to be asked about some chunk; more room is needed."""
COUNTERS = ("WORD", "BYTE", "CHAR", "USED", "POOLED", "ASKED", "JOINED", "CUT_ANEW")
WORD, BYTE, CHAR, USED, POOLED, ASKED, JOINED, CUT_ANEW = range(8)
"""Counters that the kernel goes on from."""
ORS = np.uint8(ALPHA | ALNUM | SOLID)
PLAIN = np.uint8(ALPHA | ALNUM | FIRST_ALNUM | SOLID)
ABOVE_BLANK = np.uint64(0x2121212121212121)
ALONE, MARKED = 1, 2
"""Bits of a word that is not plain: on its own; together with a mark behind it."""


class Texts(NamedTuple):
    """The rows to cut, as in `TextBuffers`."""

    data: npt.NDArray[np.uint8]
    rows: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]


class Tables(NamedTuple):
    """What is known of characters and words once and for all."""

    chunk: ChunkRules
    chars: npt.NDArray[np.uint8]
    """Kinds of every code point (`char_kinds`)."""
    signs: npt.NDArray[np.uint8]
    """What every code point brings to the kinds of its word (`sign_kinds`)."""
    edges: npt.NDArray[np.uint64]
    """Neighbours in any special word: last and first character, and the hashes of both."""
    marks: npt.NDArray[np.uint64]
    """Hash and kinds of every ASCII character that is cut off behind a word; hash 0 for the others."""
    tangled: npt.NDArray[np.uint8]
    """ALONE and MARKED, by the last bits of the hash of a word."""
    native: bool
    """The rules are those that the kernel knows; otherwise spaCy cuts every chunk."""


class Memory(NamedTuple):
    """What has been learned of chunks."""

    slots: npt.NDArray[np.uint64]
    """Open addressing: hash, first eight bytes, length and characters, and kinds, number of words and place in the pool."""
    pool: npt.NDArray[np.uint64]
    """Words of the chunks that have more than one: hash, and length, characters and kinds."""
    urls: npt.NDArray[np.uint64]
    """Hashes of texts that were held against spaCy's pattern for URLs, with the last bit for the answer."""


class Scratch(NamedTuple):
    """Room for a chunk, and for questions."""

    chunk: ChunkScratch
    asked: npt.NDArray[np.int64]
    """Chunks that spaCy is to be asked about: from and to byte, and whether about a URL."""
    joints: npt.NDArray[np.int64]
    """Where two chunks meet as two neighbours in a special word do: row, begin, middle, end, whether the second is touchy."""
    became: npt.NDArray[np.uint8]
    """What became of each row."""


class Out(NamedTuple):
    """Arrays of `Words`."""

    firsts: npt.NDArray[np.int64]
    lasts: npt.NDArray[np.int64]
    stream: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int32]
    chars: npt.NDArray[np.int32]
    hashes: npt.NDArray[np.uint64]
    kinds: npt.NDArray[np.uint8]


@njit(inline="always")
def find_slot(key, head, size, slots):  # type: ignore[no-untyped-def]
    """The slot of a chunk, or the empty one where it would stand."""
    at = np.int64(key & np.uint64(len(slots) - 1))
    while slots[at, 0] and not (slots[at, 0] == key and slots[at, 1] == head and slots[at, 2] & np.uint64(0xFFFF) == size):
        at = (at + 1) & (len(slots) - 1)
    return at


@njit(nogil=True, cache=True)
def describe(base, start, limit, cuts, count, pool, pooled, signs):  # type: ignore[no-untyped-def]
    """Hash, length and kinds of every word of a chunk into `pool` from row `pooled` on. Returns the chunk's characters."""
    begin, chars = start, 0
    for k in range(count):
        end = start + cuts[k]
        some, every, length, i = np.uint8(0), np.uint8(PUNCT | PERIOD), 0, begin
        while i < end:
            code, width = decode_char(base, i, end)
            sign = signs[code]
            some |= sign & ORS
            every &= sign
            if not length:
                some |= sign & np.uint8(FIRST_ALNUM)
            length += 1
            i += width
        if length != 1:
            every &= np.uint8(PUNCT)
        pool[pooled + k, 0] = hash_bytes(base, begin, end, limit)
        pool[pooled + k, 1] = (
            np.uint64(end - begin) | np.uint64(length) << np.uint64(24) | np.uint64(some | every) << np.uint64(48)
        )
        chars += length
        begin = end
    return chars


@njit(inline="always")
def _store(at, key, head, size, chars, count, flags, slots, pool, counters):  # type: ignore[no-untyped-def]
    """Fill the empty slot `at` with a chunk whose words stand in the pool behind those of the chunks before it."""
    pooled = counters[POOLED]
    slots[at, 0], slots[at, 1], slots[at, 2] = key, head, np.uint64(size) | np.uint64(chars) << np.uint64(32)
    if count == 1:
        slots[at, 3] = np.uint64(flags) | pool[pooled, 1] >> np.uint64(48) | np.uint64(1 << 8)
    else:
        slots[at, 3] = np.uint64(flags) | np.uint64(count) << np.uint64(8) | np.uint64(pooled) << np.uint64(32)
        counters[POOLED] = pooled + count
    counters[USED] += 1


@njit(nogil=True, cache=True)
def learn(data, starts, cuts, cut_starts, touchy, slots, pool, counters, signs):  # type: ignore[no-untyped-def]
    """Store the chunks data[starts[c]:starts[c + 1]] with the words that spaCy made of them."""
    base, limit = data.ctypes.data, len(data)
    for c in range(len(starts) - 1):
        start, end = starts[c], starts[c + 1]
        key = hash_bytes(base, start, end, limit)
        head = load_some(base, start, min(end, start + 8), limit)
        at = find_slot(key, head, np.uint64(end - start), slots)
        if not slots[at, 0]:
            count = cut_starts[c + 1] - cut_starts[c]
            chars = describe(base, start, limit, cuts[cut_starts[c] :], count, pool, counters[POOLED], signs)
            _store(at, key, head, end - start, chars, count, TOUCHY if touchy[c] else 0, slots, pool, counters)


@njit(nogil=True, cache=True)
def _meet(base, begin, end, start, stop, left, right, touchy, mark, edges):  # type: ignore[no-untyped-def]
    """Whether the chunk begin .. end ends and the chunk start .. stop begins as two neighbours in a special word do.

    `left` and `right` are the hashes of the words that meet. In a touchy chunk these may be special words already: there
    only the characters count.
    """
    before, _ = decode_last(base, begin, end)
    after, _ = decode_char(base, start, stop)
    pair = np.uint64(before) << np.uint64(32) | np.uint64(after)
    for k in range(len(edges)):
        if edges[k, 0] == pair and (touchy or edges[k, 1] == left) and (mark or edges[k, 2] == right):
            return True
    return False


@njit(inline="always")
def _plain(base, begin, end, limit, marks, tangled):  # type: ignore[no-untyped-def]
    """Whether a chunk is a word of ASCII letters, or one and a mark that is a word too, and no rule asks for more.

    Returns the number of letters, 0 where it is not so, and the hash of the letters.
    """
    size = end - begin
    if size <= 8 and begin + 8 <= limit:
        eight = load_u64(base + begin)
        lower = eight | LOWER_CASE
        letter = (lower + FROM_A) & ~(lower + AFTER_Z) & ~eight
        other = ~letter & TOPS >> np.uint64(64 - 8 * size)
        if other:
            last = np.int64(eight >> np.uint64(8 * size - 8)) & 0xFF
            if other != np.uint64(0x80) << np.uint64(8 * size - 8) or size == 1 or last >= 0x80 or not marks[last, 0]:
                return 0, np.uint64(0)
            size -= 1
            if last == DOT and np.int64(eight >> np.uint64(8 * size - 8)) & 0xFF < ord("a"):
                return 0, np.uint64(0)
        eight &= ~np.uint64(0) >> np.uint64(64 - 8 * size)
        key = fold_product(fold_product(SEED ^ np.uint64(size) ^ eight, STEP) ^ STEP, LAST)
        tangle = tangled[np.int64(key & np.uint64(len(tangled) - 1))] & (MARKED if other else ALONE)
        return 0 if tangle else size, key
    last = load_byte(base + end - 1)
    stop = end
    if last < 0x80 and marks[last, 0] and end - begin > 1:
        stop -= 1
        if last == DOT and load_byte(base + stop - 1) < ord("a"):  # "U." and "AB." have rules of their own
            stop = end
    value, other, i = SEED ^ np.uint64(stop - begin), np.uint64(0), begin
    while i < stop:
        eight = load_some(base, i, stop, limit)
        value = fold_product(value ^ eight, STEP)
        lower = eight | LOWER_CASE
        letter = (lower + FROM_A) & ~(lower + AFTER_Z) & ~eight
        absent = min(8, stop - i)
        other |= (~letter) << np.uint64(64 - 8 * absent)
        i += 8
    key = fold_product(value ^ STEP, LAST)
    tangle = tangled[np.int64(key & np.uint64(len(tangled) - 1))] & (ALONE if stop == end else MARKED)
    return 0 if other & TOPS or tangle else stop - begin, key


@njit(inline="always")
def _next_chunks(base, limit, i, end, behind, spaces, marks, tangled, slots_at, last_slot, queue, keys):  # type: ignore[no-untyped-def]
    """Find the next chunks and ask for their slots: by the time the last is found the first is at hand.

    Returns the place reached, whether a chunk lies behind it, and the number of chunks in the queue.
    """
    queued = 0
    while queued < QUEUE:
        # White space: how it reads decides whether spaCy makes a token of it.
        blank = i
        while i < end:
            code, width = decode_char(base, i, end)
            if not spaces[code] & SPACE:
                break
            i += width
        if i >= end:
            break
        queue[queued, 0], queue[queued, 2] = i, behind and not (i - blank == 1 and load_byte(base + blank) == 32)
        behind = True
        # The chunk: eight bytes at a time while they are ASCII above the blank.
        while i < end:
            if i + 8 <= limit:
                eight = load_u64(base + i)
                mask = ((eight - ABOVE_BLANK) | eight) & TOPS
                i += trailing_zeros(mask) >> 3
                if not mask:
                    continue
                if i >= end:
                    break
            code, width = decode_char(base, i, end)
            if spaces[code] & SPACE:
                break
            i += width
        i = min(i, end)
        begin = np.int64(queue[queued, 0])
        plain, key = _plain(base, begin, i, limit, marks, tangled)
        if not plain:
            key = hash_bytes(base, begin, i, limit)
            prefetch(slots_at + 32 * np.int64(key & last_slot))
        queue[queued, 1], queue[queued, 3], keys[queued] = i, plain, key
        queued += 1
    return i, behind, queued


@njit(inline="always")
def _copy(base, begin, end, limit, to):  # type: ignore[no-untyped-def]
    """Copy the bytes begin .. end to the address `to`, which has room for seven more."""
    i = begin
    while i < end:
        store_u64(to + (i - begin), load_some(base, i, min(end, i + 8), limit))
        i += 8


@njit(nogil=True, cache=True)
def fill(texts, tables, memory, scratch, counters, out):  # type: ignore[no-untyped-def]
    """Cut the rows, going on from `counters`, until one needs more room. Returns the number of rows that were gone through."""
    data, rows, starts, ends = texts
    rules, spaces, signs, edges, marks, tangled, native = tables
    slots, pool, urls = memory
    chunk_scratch, asked, joints, became = scratch
    codes, _, cuts = chunk_scratch
    firsts, lasts, stream, word_starts, word_chars, hashes, kinds = out
    base, limit, stream_at = data.ctypes.data, len(data), stream.ctypes.data
    full, slots_at, last_slot = len(slots) * 3 // 8, slots.ctypes.data, np.uint64(len(slots) - 1)
    queue, keys = np.zeros((QUEUE, 4), np.int64), np.zeros(QUEUE, np.uint64)
    for number in range(len(rows)):
        row = rows[number]
        i, end = starts[row], ends[row]
        word, byte, char = counters[WORD], counters[BYTE], counters[CHAR]
        firsts[row] = word
        asking, touchy = False, False
        begin, stop, previous = i, i, i
        behind = False
        while i < end:
            i, behind, queued = _next_chunks(
                base, limit, i, end, behind, spaces, marks, tangled, slots_at, last_slot, queue, keys
            )
            for number_in_queue in range(queued):
                previous, begin, chunk_end = begin, queue[number_in_queue, 0], queue[number_in_queue, 1]
                gap = np.uint8(GAP) if queue[number_in_queue, 2] else np.uint8(0)
                key, size = keys[number_in_queue], chunk_end - begin
                plain = queue[number_in_queue, 3]
                if plain and not touchy:
                    stop = chunk_end
                    if asking:
                        continue
                    word_starts[word], word_chars[word], hashes[word], kinds[word] = byte, char, key, PLAIN | gap
                    word += 1
                    if plain < size:
                        mark = load_byte(base + chunk_end - 1)
                        word_starts[word], word_chars[word] = byte + plain, char + plain
                        hashes[word], kinds[word] = marks[mark, 0], marks[mark, 1]
                        word += 1
                    _copy(base, begin, chunk_end, limit, stream_at + byte)
                    byte += size
                    char += size
                    continue
                if plain:
                    key = hash_bytes(base, begin, chunk_end, limit)
                head = load_some(base, begin, min(chunk_end, begin + 8), limit)
                at = find_slot(key, head, np.uint64(size), slots)
                shape, place = slots[at, 2], slots[at, 3]
                count, pooled = np.int64(place >> np.uint64(8)) & 0xFFFFFF, np.int64(place >> np.uint64(32))
                chars = np.int64(shape >> np.uint64(32))
                if not slots[at, 0]:
                    if size >= len(codes) or counters[POOLED] + size >= len(pool):
                        became[row] = ROOM
                        return number
                    count = np.int64(ASK_SPECIAL)
                    if native:
                        count = cut_chunk(base, begin, chunk_end, limit, rules, urls, chunk_scratch)
                    if count < 0:
                        if counters[ASKED] >= len(asked):
                            became[row] = ROOM
                            return number
                        about_url = count == ASK_URL
                        asked[counters[ASKED], 0] = begin + (cuts[0] if about_url else 0)
                        asked[counters[ASKED], 1] = begin + cuts[1] if about_url else chunk_end
                        asked[counters[ASKED], 2] = about_url
                        counters[ASKED] += 1
                        asking = True
                        continue
                    pooled = counters[POOLED]
                    chars = describe(base, begin, limit, cuts, count, pool, pooled, signs)
                    place = pool[pooled, 1] >> np.uint64(48)
                    counters[CUT_ANEW] += 1
                    if counters[USED] < full and size <= MAX_STORED:
                        _store(at, key, head, size, chars, count, 0, slots, pool, counters)
                if asking:
                    continue
                mark = place & np.uint64(TOUCHY) != 0
                if (touchy or mark) and word > firsts[row]:
                    right = key if count == 1 else pool[pooled, 0]
                    if _meet(base, previous, stop, begin, chunk_end, hashes[word - 1], right, touchy, mark, edges):
                        if counters[JOINED] >= len(joints):
                            became[row] = ROOM
                            return number
                        joint = joints[counters[JOINED]]
                        joint[0], joint[1], joint[2], joint[3], joint[4] = row, previous, stop, chunk_end, mark
                        counters[JOINED] += 1
                touchy, stop = mark, chunk_end
                _copy(base, begin, chunk_end, limit, stream_at + byte)
                if count == 1:
                    word_starts[word], word_chars[word], hashes[word] = byte, char, key
                    kinds[word] = np.uint8(place & np.uint64(0x7F)) | gap
                    word += 1
                    byte += size
                    char += chars
                else:
                    for k in range(pooled, pooled + count):
                        parts = pool[k, 1]
                        word_starts[word], word_chars[word], hashes[word] = byte, char, pool[k, 0]
                        kinds[word] = np.uint8(parts >> np.uint64(48)) | gap
                        gap = np.uint8(0)
                        word += 1
                        byte += np.int64(parts) & 0xFFFFFF
                        char += np.int64(parts >> np.uint64(24)) & 0xFFFFFF
        if asking:
            became[row] = ASK
        else:
            became[row] = FOUND
            lasts[row] = word
            counters[WORD], counters[BYTE], counters[CHAR] = word, byte, char
            word_starts[word], word_chars[word] = byte, char
    return len(rows)


@njit(cache=True)
def widen_slots(slots):  # type: ignore[no-untyped-def]
    """The same chunks in twice as many slots."""
    wider = np.zeros((2 * len(slots), 4), np.uint64)
    for old in range(len(slots)):
        if slots[old, 0]:
            at = find_slot(slots[old, 0], slots[old, 1], slots[old, 2] & np.uint64(0xFFFF), wider)
            wider[at] = slots[old]
    return wider
