"""The words of spaCy's `blank("en")`, token for token, at hundreds of times its speed.

spaCy cuts every run of non-space characters, a chunk, on its own. So a chunk is cut once and then looked up:

- Nine of ten chunks of web text are plain: ASCII letters, perhaps with a mark behind them that is cut off. These are not even
  looked up, but for a bit by which words that some rule asks for are known (`_plain`).
- Most others are cut by `_cut`, which applies spaCy's rules for prefixes, suffixes, infixes, units and special words.
- What may be a URL and would otherwise be cut inside is held against spaCy's own pattern for URLs.
- spaCy itself cuts chunks with neighbours of which a special word may be made after all (":" and ")").

The tables of chunks and URLs are bounded. Once that of chunks is full what `_cut` can cut is cut anew each time.

One thing crosses chunks: spaCy's search for special words runs over the whole text, and a longer find that spans white space,
which comes to nothing, still blocks the find inside a chunk (":)" in "x:) )"). Where that can be, spaCy cuts the whole text.

Decisions. Slots hold a 64-bit hash, the length and the first eight bytes of a chunk, not all of it: chunks up to eight bytes
are told apart exactly, longer ones with an error of 2**-64 per pair that also agrees in those. A chunk of more than
LONG_CHUNK bytes is cut by the rules alone: spaCy takes time quadratic in its length there.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt
from numba import njit

from curate.text.unicode.buffers import TextBuffers
from curate.text.unicode.chars import SPACE, char_kinds
from curate.text.unicode.hashing import (
    LAST,
    SEED,
    STEP,
    find_row,
    fold_product,
    hash_bytes,
    hash_of,
    hash_table,
    load_byte,
    load_some,
    load_u64,
    prefetch,
    store_u64,
    trailing_zeros,
)
from curate.text.unicode.utf8 import decode_char, decode_last
from curate.text.words.punctuation import sign_kinds
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
    SpacyRules,
    english,
    spacy_rules,
)
from curate.text.words.stream import AFTER_Z, FROM_A, TOPS, stream_size
from curate.text.words.stream import LOWER as LOWER_CASE
from curate.text.words.types import ALNUM, ALPHA, FIRST_ALNUM, GAP, PERIOD, PUNCT, SOLID, Words

SLOTS = 1 << 21
"""Of the table: 64 MB, 32 more for words. What the kernel cuts is stored up to three eighths, what spaCy cuts up to a half."""
LONG_CHUNK = 10_000
QUEUE = 32
"""Chunks whose slots are asked for before the first is looked at."""
MAX_STORED = 0xFFFF
WINDOW, LONGEST_SPECIAL = 1000, 12
"""Bytes and chunks to each side of where two chunks meet, within which a find that spans both must lie."""
TOUCHY = 128
"""In the kinds of a stored chunk: spaCy may have made a special word inside it."""
FOUND, ASK, ROOM = 0, 1, 2
"""What became of a row: cut; spaCy is to be asked about some chunk; more room is needed."""
ASK_URL, ASK_SPECIAL = -1, -2
FLAT = ("stream", "starts", "chars", "hashes", "kinds")
COUNTERS = ("WORD", "BYTE", "CHAR", "USED", "POOLED", "ASKED", "JOINED", "CUT_ANEW")
WORD, BYTE, CHAR, USED, POOLED, ASKED, JOINED, CUT_ANEW = range(8)
"""Counters that the kernel goes on from."""
MAX_SPECIAL, MAX_UNIT, MAX_PAIRED = 32, 8, 8
"""Bytes of the longest special word, characters of the longest unit, bytes of the longest word in a pair, or more."""
PAIRED = np.uint64(0x9E3779B97F4A7C15)
ORS = np.uint8(ALPHA | ALNUM | SOLID)
PLAIN = np.uint8(ALPHA | ALNUM | FIRST_ALNUM | SOLID)
ALONE, MARKED, TANGLED = 1, 2, 1 << 15
DOT, PLUS, APOSTROPHE, RIGHT_QUOTE, DOLLAR, DEGREE, ELLIPSIS = (ord(char) for char in ".+'’$°…")
"""Characters the rules name."""


@njit(inline="always")
def _find(base, start, end, limit, table):  # type: ignore[no-untyped-def]
    """The row of `table` that holds the bytes start .. end, by their hash; -1 for none. Rows with hash 0 are empty."""
    return find_row(hash_bytes(base, start, end, limit), table) if end - start <= MAX_SPECIAL else -1


@njit(nogil=True, cache=True)
def _cut(base, start, end, limit, classes, specials, special_parts, units, pairs, urls, codes, places, cuts):  # type: ignore[no-untyped-def]
    """The ends of the words of a chunk, in bytes from its start, into `cuts`. Returns their number, or what to ask spaCy:
    about the whole of it, or whether the part between the first two of `cuts` is a URL.

    Follows `Tokenizer._split_affixes` and `_attach_tokens` of spaCy, on code points lo .. hi of the chunk.
    """
    size, i = 0, start
    dotted = False
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
        code = codes[lo]
        before = 0
        if classes[code] & PREFIX:
            before = 1
        elif code == PLUS:
            before = 0 if lo + 1 < hi and classes[codes[lo + 1]] & DIGIT else 1
        elif code == DOT:
            while lo + before < hi and codes[lo + before] == DOT:
                before += 1
            if before == 1:
                before = 0
        elif code == ord("U") or code == ord("C") or code == ord("A"):
            at = lo + 2 if code == ord("U") and lo + 1 < hi and codes[lo + 1] == ord("S") else lo + 1
            if at < hi and codes[at] == DOLLAR and (at > lo + 1 or code != ord("U")):
                before = at + 1 - lo
        if before and lo + before < hi:
            special = _find(base, places[lo + before], places[hi], limit, specials)
            if special >= 0:
                lo += before
                cuts[count] = places[lo] - start
                count += 1
                break
        after = 0
        left = lo + before  # what the suffix rules see begins here
        if left < hi:
            code = codes[hi - 1]
            kind = classes[code]
            one = codes[hi - 2] if hi - 2 >= left else np.uint32(0)
            two = codes[hi - 3] if hi - 3 >= left else np.uint32(0)
            if kind & SUFFIX:
                after = 1
                if code == ELLIPSIS and one == ELLIPSIS:
                    after = 2
            elif code == DOT:
                while hi - after > left and codes[hi - after - 1] == DOT:
                    after += 1
                if after == 1:
                    ends_word = classes[one] & BEFORE_DOT or (classes[one] & UPPER and classes[two] & UPPER)
                    temperature = two == DEGREE and (
                        one == ord("F")
                        or one == ord("f")
                        or one == ord("C")
                        or one == ord("c")
                        or one == ord("K")
                        or one == ord("k")
                    )
                    if not (ends_word or temperature):
                        after = 0
            elif code == PLUS:
                after = 1 if classes[one] & DIGIT else 0
            elif (code == ord("s") or code == ord("S")) and one in (APOSTROPHE, RIGHT_QUOTE):
                after = 2
            if kind & CURRENCY and classes[one] & DIGIT:
                after = max(after, 1)
            if code == DOLLAR:
                if (one == ord("C") or one == ord("A")) and classes[two] & DIGIT:
                    after = max(after, 2)
                if one == ord("S") and two == ord("U") and hi - 4 >= left and classes[codes[hi - 4]] & DIGIT:
                    after = max(after, 3)
            if kind & UNIT_END:
                for length in range(min(hi - left - 1, MAX_UNIT), after, -1):
                    if (
                        classes[codes[hi - length - 1]] & DIGIT
                        and _find(base, places[hi - length], places[hi], limit, units) >= 0
                    ):
                        after = length
                        break
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
        at = places[lo] - start
        part = np.int64(specials[special, 1])
        while special_parts[part]:
            at += special_parts[part]
            cuts[count] = at
            count += 1
            part += 1
    elif lo < hi:
        begin, k, inside = lo, lo, count
        while k < hi:
            code = codes[k]
            kind = classes[code]
            length = 0
            if kind & INFIX:
                length = 1
            elif code == DOT and k + 1 < hi and codes[k + 1] == DOT:
                while k + length < hi and codes[k + length] == DOT:
                    length += 1
            elif k > lo and k + 1 < hi:
                one, two = classes[codes[k - 1]], classes[codes[k + 1]]
                sign = code == PLUS or code == ord("-") or code == ord("*") or code == ord("^")
                if sign and one & DIGIT and (two & DIGIT or codes[k + 1] == ord("-")):
                    length = 1
                if code == DOT:
                    if one & (LOWER | QUOTE) and two & (UPPER | QUOTE):
                        length = 1
                elif code == ord(","):
                    if one & LETTER and two & LETTER:
                        length = 1
                elif not length and one & (LETTER | DIGIT):
                    if kind & HYPHEN:
                        if two & LETTER:
                            length = 1
                        elif codes[k + 1] == code and code != ord("–") and code != ord("~"):
                            longest = 3 if code == ord("-") else 2
                            length = 2
                            if longest == 3 and k + 2 < hi and codes[k + 2] == code:
                                length = 3
                            if k + length >= hi or not classes[codes[k + length]] & LETTER:
                                length = 0
                    elif code == ord(":") or code == ord("<") or code == ord(">") or code == ord("=") or code == ord("/"):
                        length = 1 if two & LETTER else 0
            if not length:
                k += 1
                continue
            if k > lo:
                if k > begin:
                    cuts[count] = places[k] - start
                    count += 1
                cuts[count] = places[k + length] - start
                count += 1
                begin = k + length
            k += length
        if begin < hi:
            cuts[count] = places[hi] - start
            count += 1
        if count - inside > 1 and dotted and hi - lo <= LONG_CHUNK:
            for k in range(lo + 1, hi - 1):  # is there what any URL has: a full stop, two letters or a digit after it
                if codes[k] == DOT:
                    one = classes[codes[k + 1]]
                    if one & DIGIT or (one & LOWER and k + 2 < hi and classes[codes[k + 2]] & LOWER):
                        at = _url(hash_bytes(base, places[lo], places[hi], limit), urls)
                        if not urls[at]:
                            cuts[0], cuts[1] = places[lo] - start, places[hi] - start
                            return ASK_URL
                        if urls[at] & np.uint64(1):
                            cuts[inside], count = places[hi] - start, inside + 1
                        break
    while tail < len(cuts):
        cuts[count] = cuts[tail]
        count += 1
        tail += 1
    if size <= LONG_CHUNK:
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
                        return ASK_SPECIAL
                    at = (at + 1) & (len(pairs) - 1)
            left, middle = middle, right
    return count


@njit(inline="always")
def _url(key, urls):  # type: ignore[no-untyped-def]
    """Where a text stands that was held against the pattern, its hash with the last bit for the answer, or would stand."""
    at = np.int64(key >> np.uint64(1) & np.uint64(len(urls) - 1))
    while urls[at] and urls[at] | np.uint64(1) != key | np.uint64(1):
        at = (at + 1) & (len(urls) - 1)
    return at


@njit(inline="always")
def _slot(key, head, size, slots):  # type: ignore[no-untyped-def]
    """The slot of a chunk, or the empty one where it would stand."""
    at = np.int64(key & np.uint64(len(slots) - 1))
    while slots[at, 0] and not (slots[at, 0] == key and slots[at, 1] == head and slots[at, 2] & np.uint64(0xFFFF) == size):
        at = (at + 1) & (len(slots) - 1)
    return at


@njit(nogil=True, cache=True)
def _describe(base, start, limit, cuts, count, pool, pooled, signs):  # type: ignore[no-untyped-def]
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
def _learn(data, starts, cuts, cut_starts, touchy, slots, pool, counters, signs):  # type: ignore[no-untyped-def]
    """Store the chunks data[starts[c]:starts[c + 1]] with the words that spaCy made of them."""
    base, limit = data.ctypes.data, len(data)
    for c in range(len(starts) - 1):
        start, end = starts[c], starts[c + 1]
        key = hash_bytes(base, start, end, limit)
        head = load_some(base, start, min(end, start + 8), limit)
        at = _slot(key, head, np.uint64(end - start), slots)
        if not slots[at, 0]:
            count = cut_starts[c + 1] - cut_starts[c]
            chars = _describe(base, start, limit, cuts[cut_starts[c] :], count, pool, counters[POOLED], signs)
            _store(at, key, head, end - start, chars, count, TOUCHY if touchy[c] else 0, slots, pool, counters)


@njit(cache=True)
def _answer(answers, urls):  # type: ignore[no-untyped-def]
    for answer in answers:
        urls[_url(answer, urls)] = answer


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


@njit(nogil=True, cache=True)
def _fill(  # type: ignore[no-untyped-def]
    data, rows, starts, ends, spaces, classes, signs, specials, special_parts, units, pairs, urls, edges, native,
    marks, tangled, slots, pool, codes, places, cuts, counters, asked, joints, became,
    firsts, lasts, stream, word_starts, word_chars, hashes, kinds,
):  # fmt: skip
    """Cut the rows, going on from `counters`, until one needs more room; `became` says what became of each."""
    base, limit, out = data.ctypes.data, len(data), stream.ctypes.data
    high, ones = np.uint64(0x8080808080808080), np.uint64(0x2121212121212121)
    full, table = len(slots) * 3 // 8, slots.ctypes.data
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
            # Find the next chunks and ask for their slots; by the time the last is found the first is at hand.
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
                        mask = ((eight - ones) | eight) & high
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
                    prefetch(table + 32 * np.int64(key & np.uint64(len(slots) - 1)))
                queue[queued, 1], queue[queued, 3], keys[queued] = i, plain, key
                queued += 1
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
                    j = begin
                    while j < chunk_end:
                        store_u64(out + byte + (j - begin), load_some(base, j, min(chunk_end, j + 8), limit))
                        j += 8
                    byte += size
                    char += size
                    continue
                if plain:
                    key = hash_bytes(base, begin, chunk_end, limit)
                head = load_some(base, begin, min(chunk_end, begin + 8), limit)
                at = _slot(key, head, np.uint64(size), slots)
                shape, place = slots[at, 2], slots[at, 3]
                count, pooled = np.int64(place >> np.uint64(8)) & 0xFFFFFF, np.int64(place >> np.uint64(32))
                chars = np.int64(shape >> np.uint64(32))
                if not slots[at, 0]:
                    if size >= len(codes) or counters[POOLED] + size >= len(pool):
                        became[row] = ROOM
                        return number
                    count = ASK_SPECIAL
                    if native:
                        count = _cut(
                            base, begin, chunk_end, limit, classes, specials, special_parts, units, pairs, urls,
                            codes, places, cuts,
                        )  # fmt: skip
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
                    chars = _describe(base, begin, limit, cuts, count, pool, pooled, signs)
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
                j = begin
                while j < chunk_end:
                    store_u64(out + byte + (j - begin), load_some(base, j, min(chunk_end, j + 8), limit))
                    j += 8
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


class SpacyCutter:
    """Cuts text columns into spaCy's words; keeps a table of the chunks it has met. One per process."""

    def __init__(self, rules: SpacyRules, slots: int = SLOTS) -> None:
        self._rules, self._size = rules, slots
        self._specials, self._special_parts = _special_table(rules)
        self._units = hash_table([unit.encode() for unit in rules.units])
        self._pairs = _pair_table(rules.pairs)
        self._marks, self._tangled = _mark_table(rules), _tangled_table(rules)
        hashes = [(hash_of(left.encode()), hash_of(right.encode())) for left, right in rules.edges]
        meeting = [ord(left[-1]) << 32 | ord(right[0]) for left, right in rules.edges]
        self._edges = np.column_stack([np.array(meeting, np.uint64), np.array(hashes, np.uint64)])
        self._found = dict(rules.found)
        self._longest = max(map(len, self._found))
        self._joined: dict[bytes, list[list[bytes]]] = {}
        for parts in rules.joined:
            self._joined.setdefault(parts[0].encode(), []).append([part.encode() for part in parts])
        self._scratch(1 << 12)
        self._asked, self._joints = np.zeros((1 << 16, 3), np.int64), np.zeros((1 << 12, 5), np.int64)
        self.asked = self.matched = self.met = 0
        """Chunks that went to spaCy, those held against its pattern for URLs, and all that were not in the table when met."""
        self._forget()

    def _forget(self) -> None:
        self._slots = np.zeros((self._size, 4), np.uint64)
        self._pool = np.zeros((self._size, 2), np.uint64)
        self._counters = np.zeros(len(COUNTERS), np.int64)
        self._forget_urls()

    def _forget_urls(self) -> None:
        self._urls, self._answers = np.zeros(1 << 12, np.uint64), 0

    def _scratch(self, size: int) -> None:
        self._codes, self._places = np.zeros(size, np.uint32), np.zeros(size + 1, np.int64)
        self._cuts = np.zeros(size + 1, np.int32)

    def __call__(self, texts: TextBuffers) -> Words:
        if self._counters[USED] > len(self._slots) // 2 or len(self._slots) > self._size:
            self._forget()
        if self._answers > self._size // 2:
            self._forget_urls()
        rows = len(texts.starts)
        size = stream_size(texts)
        words = Words(
            firsts=np.zeros(rows, np.int64),
            lasts=np.zeros(rows, np.int64),
            stream=np.empty(size + 8, np.uint8),
            starts=np.empty(size + 1, np.int32),
            chars=np.empty(size + 1, np.int32),
            hashes=np.empty(size, np.uint64),
            kinds=np.empty(size, np.uint8),
        )
        words.starts[0] = words.chars[0] = 0
        self._counters[[WORD, BYTE, CHAR]] = 0
        left, became = np.arange(rows), np.zeros(rows, np.uint8)
        blocked: set[int] = set()
        while len(left):
            self._counters[[ASKED, JOINED, CUT_ANEW]] = 0
            done = self._run(texts, left, became, words)
            self.met += int(self._counters[CUT_ANEW])
            blocked |= self._blocked(texts)
            if self._counters[ASKED]:
                self._ask(texts)
            elif done < len(left) and not self._counters[JOINED]:
                self._make_room(int((texts.ends - texts.starts)[left[done]]))
            left = np.concatenate([left[:done][became[left[:done]] == ASK], left[done:]])
        if blocked:
            words = _widen(words, sum(int(texts.ends[row] - texts.starts[row]) for row in blocked))
            for row in sorted(blocked):
                self._cut_whole(texts, row, words)
        count, byte = int(self._counters[WORD]), int(self._counters[BYTE])
        return Words(
            words.firsts, words.lasts, words.stream[:byte], words.starts[: count + 1], words.chars[: count + 1],
            words.hashes[:count], words.kinds[:count],
        )  # fmt: skip

    def _run(self, texts: TextBuffers, rows: npt.NDArray[np.int64], became: npt.NDArray[np.uint8], words: Words) -> int:
        return int(
            _fill(
                texts.data, rows, texts.starts, texts.ends, char_kinds(), self._rules.classes, sign_kinds(), self._specials,
                self._special_parts, self._units, self._pairs, self._urls, self._edges, self._rules.known,
                self._marks, self._tangled, self._slots, self._pool,
                self._codes, self._places, self._cuts, self._counters, self._asked, self._joints, became,
                words.firsts, words.lasts, words.stream, words.starts, words.chars, words.hashes, words.kinds,
            )
        )  # fmt: skip

    def _make_room(self, size: int) -> None:
        """Room for a chunk of as many bytes."""
        if len(self._codes) <= size:
            self._scratch(size + size // 8)
        self._grow(size + size // 8)

    def _grow(self, size: int) -> None:
        """Room in the pool for as many words more."""
        if len(self._pool) <= self._counters[POOLED] + size:
            self._pool = np.concatenate([self._pool, np.zeros((len(self._pool) + size, 2), np.uint64)])

    def _ask(self, texts: TextBuffers) -> None:
        """Have spaCy cut the chunks that were asked for, or say whether they are URLs, and remember it."""
        spans = self._asked[: self._counters[ASKED]].tolist()
        parts = dict.fromkeys((texts.data[start:end].tobytes(), about_url) for start, end, about_url in spans)
        self._match([part for part, about_url in parts if about_url])
        chunks = [part for part, about_url in parts if not about_url]
        self.asked += len(chunks)
        if not chunks:
            return
        words = _cut_by_spacy(chunks)
        cuts = [list(itertools.accumulate(map(len, parts))) for parts in words]
        while self._counters[USED] + len(chunks) > len(self._slots) * 3 // 4:
            self._slots = _rehash(self._slots)
        self._grow(sum(map(len, cuts)) + 1)
        data, ends = np.frombuffer(b"".join(chunks), np.uint8), np.array([*itertools.chain.from_iterable(cuts)], np.int32)
        touchy = np.array([self._touchy(parts) for parts in words])
        tables = (self._slots, self._pool, self._counters, sign_kinds())
        _learn(data, _bounds(chunks), ends, _bounds(cuts), touchy, *tables)

    def _match(self, parts: list[bytes]) -> None:
        """Remember which of some texts are URLs."""
        while self._answers + len(parts) > len(self._urls) // 2:
            known, self._urls = self._urls[self._urls > 0], np.zeros(4 * len(self._urls), np.uint64)
            _answer(known, self._urls)
        match = english().tokenizer.url_match
        found = [hash_of(part) & ~1 | bool(match(part.decode(errors="replace"))) for part in parts]
        _answer(np.array(found, np.uint64), self._urls)
        self._answers += len(parts)
        self.matched += len(parts)

    def _touchy(self, words: list[bytes]) -> bool:
        """Whether some special word was, or may have been, put together from the words of a chunk."""
        return any(words[k : k + len(parts)] == parts for k, word in enumerate(words) for parts in self._joined.get(word, ()))

    def _blocked(self, texts: TextBuffers) -> set[int]:
        """Rows in which a find across white space does block one inside a chunk, by spaCy's own word."""
        rows, windows = [], []
        for row, begin, middle, end, mark in self._joints[: self._counters[JOINED]].tolist():
            start, stop = int(texts.starts[row]), int(texts.ends[row])
            if not self._crossed(texts.data[start:middle], texts.data[middle:stop], 2 if mark else 3):
                continue
            before = texts.data[max(start, begin - WINDOW) : begin].tobytes().decode(errors="ignore").split()
            after = texts.data[end : min(stop, end + WINDOW)].tobytes().decode(errors="ignore").split()
            here = texts.data[begin:end].tobytes().decode(errors="replace").split()
            rows.append(row)
            windows.append([*before[-LONGEST_SPECIAL:], *here, *after[:LONGEST_SPECIAL]])
        if not rows:
            return set()
        together, apart = (_tokens("\n".join(join.join(chunks) for chunks in windows)) for join in (" ", "\t"))
        lines = [" ".join(token for token in tokens if token != "\t").split("\n") for tokens in (together, apart)]
        return {row for row, one, two in zip(rows, *lines, strict=True) if one != two}

    def _crossed(self, before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8], least: int) -> bool:
        """Whether a special word of `least` words or more may be found across the white space where two texts meet.

        A find in the first text wins over one as long that spans both, since it begins before it: there three words are
        the least that does harm.
        """
        left = "".join(before[-WINDOW:].tobytes().decode(errors="ignore").split())[-MAX_SPECIAL:]
        right = "".join(after[:WINDOW].tobytes().decode(errors="ignore").split())[:MAX_SPECIAL]
        return any(
            self._found.get(left[-i:] + right[:j], 0) >= least
            for i in range(1, min(len(left), self._longest - 1) + 1)
            for j in range(1, min(len(right), self._longest - i) + 1)
        )

    def _cut_whole(self, texts: TextBuffers, row: int, words: Words) -> None:
        """Have spaCy cut a whole text."""
        text = texts.data[texts.starts[row] : texts.ends[row]].tobytes().decode(errors="replace")
        tokens = _tokens(text)
        solid = [token for token in tokens if not token.isspace()]
        data = np.frombuffer("".join(solid).encode(), np.uint8)
        ends = np.cumsum([len(token.encode()) for token in solid], dtype=np.int32)
        described = np.zeros((len(solid), 2), np.uint64)
        _describe(data.ctypes.data, 0, len(data), ends, len(solid), described, 0, sign_kinds())
        after_blank = [before.isspace() for before, after in itertools.pairwise(["x", *tokens]) if not after.isspace()]
        gaps = np.where(after_blank, np.uint8(GAP), np.uint8(0))
        gaps[:1] = 0
        word, byte, char = (int(self._counters[name]) for name in (WORD, BYTE, CHAR))
        chars = np.cumsum((described[:, 1] >> np.uint64(24)) & np.uint64(0xFFFFFF))
        last = word + len(solid)
        words.firsts[row], words.lasts[row] = word, last
        words.stream[byte : byte + len(data)] = data
        words.starts[word], words.chars[word] = byte, char
        words.starts[word + 1 : last + 1], words.chars[word + 1 : last + 1] = byte + ends, char + chars.astype(np.int32)
        words.hashes[word:last] = described[:, 0]
        words.kinds[word:last] = (described[:, 1] >> np.uint64(48)).astype(np.uint8) | gaps
        self._counters[[WORD, BYTE, CHAR]] = last, byte + len(data), words.chars[last]


def _widen(words: Words, size: int) -> Words:
    """The same words, with room behind them for as many bytes of text more."""
    wider = {name: np.concatenate([array, np.empty(size, array.dtype)]) for name, array in vars(words).items() if name in FLAT}
    return replace(words, **wider)


def _special_table(rules: SpacyRules) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Special words, each with a place in the second array, where the lengths of its parts stand up to a zero."""
    lengths: list[int] = []
    places = []
    for _, parts in rules.specials:
        places.append(len(lengths))
        lengths += [*(len(part.encode()) for part in parts), 0]
    words = [word.encode() for word, _ in rules.specials]
    assert max(map(len, words)) <= MAX_SPECIAL and max(map(len, rules.units)) <= MAX_UNIT
    return hash_table(words, places), np.array(lengths, np.int64)


def _pair_table(pairs: Sequence[tuple[str, str]]) -> npt.NDArray[np.uint64]:
    table = np.zeros(1 << (4 * len(pairs)).bit_length(), np.uint64)
    for left, right in pairs:
        assert max(len(left.encode()), len(right.encode())) <= MAX_PAIRED
        key = _pair_key(hash_of(left.encode()), hash_of(right.encode()))
        at = key & (len(table) - 1)
        while table[at]:
            at = (at + 1) & (len(table) - 1)
        table[at] = key
    return table


def _mark_table(rules: SpacyRules) -> npt.NDArray[np.uint64]:
    """Of every ASCII character that is cut off behind any letter, as a full stop is behind a small one, hash and kinds."""
    table = np.zeros((128, 2), np.uint64)
    if rules.known:
        for code in (*np.flatnonzero(rules.classes[:128] & SUFFIX), DOT):
            sign = sign_kinds()[code]
            table[code] = hash_of(bytes([code])), sign & (ORS | np.uint8(FIRST_ALNUM | PUNCT | PERIOD))
    return table


def _tangled_table(rules: SpacyRules) -> npt.NDArray[np.uint8]:
    """By the last bits of its hash, whether a word may be special (ALONE), or together with a mark behind it (MARKED)."""
    alone = {word for word, parts in rules.specials if len(parts) > 1}
    marked = (
        alone
        | {word[:-1] for word, _ in rules.specials if not word[-1].isalpha()}
        | {left for left, right in rules.pairs if len(right) == 1}
    )
    table = np.full(TANGLED, 0 if rules.known else ALONE | MARKED, np.uint8)
    for bit, words in ((ALONE, alone), (MARKED, marked)):
        for word in words:
            if word.isascii() and word.isalpha():
                table[hash_of(word.encode()) & (TANGLED - 1)] |= bit
    return table


@njit(cache=True)
def _fold(one, two):  # type: ignore[no-untyped-def]
    return fold_product(one ^ PAIRED, two)


def _pair_key(one: int, two: int) -> int:
    return int(_fold(np.uint64(one), np.uint64(two)))


@njit(cache=True)
def _rehash(slots):  # type: ignore[no-untyped-def]
    """The same chunks in twice as many slots."""
    wider = np.zeros((2 * len(slots), 4), np.uint64)
    for old in range(len(slots)):
        if slots[old, 0]:
            at = _slot(slots[old, 0], slots[old, 1], slots[old, 2] & np.uint64(0xFFFF), wider)
            wider[at] = slots[old]
    return wider


def _tokens(text: str) -> list[str]:
    """spaCy's tokens, those of white space among them. Nothing it learns from the text stays."""
    with english().memory_zone():
        return [token.text for token in english().tokenizer(text)]


def _cut_by_spacy(chunks: Sequence[bytes]) -> list[list[bytes]]:
    """spaCy's words in each chunk. Line breaks keep the chunks apart: no special word has one."""
    words: list[list[bytes]] = [[]]
    for token in _tokens("\n".join(chunk.decode(errors="replace") for chunk in chunks)):
        if token == "\n":
            words.append([])
        else:
            words[-1].append(token.encode())
    return [parts if b"".join(parts) == chunk else [chunk] for parts, chunk in zip(words, chunks, strict=True)]


def _bounds(parts: Sequence[Sequence[int]]) -> npt.NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum([len(part) for part in parts], dtype=np.int64)]).astype(np.int64)


@cache
def _cutter() -> SpacyCutter:
    return SpacyCutter(spacy_rules())


def cut_spacy(texts: TextBuffers) -> Words:
    """Cut every text into the words of spaCy's blank English pipeline."""
    return _cutter()(texts)
