"""Makes `Words` of a stream and the places where its words start: their lengths, hashes and kinds. Shared by word units.

Decisions. What a word is stays in the kernel of its unit; what is known of a word is computed here, once for all units, in a
pass of its own. A word of ASCII that has a letter or digit needs no tables, being SOLID and neither PUNCT nor PERIOD, and the
eight bytes that the hash has loaded are compared at once: 440 MB of web text a second on one core of a Xeon (Emerald Rapids),
200 with a look-up per character.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from curate.text.unicode.buffers import TextBuffers
from curate.text.unicode.hashing import LAST, SEED, STEP, fold_product, load_some
from curate.text.unicode.utf8 import decode_char
from curate.text.words.punctuation import sign_kinds
from curate.text.words.types import ALNUM, ALPHA, FIRST_ALNUM, PERIOD, PUNCT, SOLID, Words

MOST_BYTES = 2**31 - 1

ONES = 0x0101010101010101
TOPS = np.uint64(0x80 * ONES)  # the bit that no byte of ASCII has
LOWER = np.uint64(0x20 * ONES)
# Added to a byte of ASCII, these set its top bit if it is at least the character.
FROM_A, AFTER_Z, FROM_0, AFTER_9 = (
    np.uint64((0x80 - code) * ONES) for code in (ord("a"), ord("z") + 1, ord("0"), ord("9") + 1)
)


def stream_size(texts: TextBuffers) -> int:
    """Bytes of all rows together. Raises ValueError where a place in the stream would not fit into 32 bits."""
    size = int((texts.ends - texts.starts).sum())
    if size > MOST_BYTES:
        raise ValueError(f"cannot cut {size} bytes of text into words at once, at most {MOST_BYTES}: take smaller batches")
    return size


def stream_words(
    firsts: npt.NDArray[np.int64], lasts: npt.NDArray[np.int64], stream: npt.NDArray[np.uint8], starts: npt.NDArray[np.int32]
) -> Words:
    """The words of a stream, all rows cut as they stand."""
    count = len(starts) - 1
    chars, hashes, kinds = np.empty(count + 1, np.int32), np.empty(count, np.uint64), np.empty(count, np.uint8)
    _measure(stream, stream.ctypes.data, starts, sign_kinds(), chars, hashes, kinds)
    return Words(firsts, lasts, stream, starts, chars, hashes, kinds)


@njit(nogil=True, cache=True)
def _measure(stream, base, starts, table, chars, hashes, kinds):  # type: ignore[no-untyped-def]
    """Fill one entry of the last three per word. `base` is the address of `stream`. The hash is that of `hash_bytes`.

    In `letters`, `signs` and `first` the top bit of a byte says that it is a letter, or a letter or digit.
    """
    limit, seen, end = len(stream), np.int64(0), np.int64(0)
    for word in range(len(starts) - 1):
        start, end = end, np.int64(starts[word + 1])
        chars[word] = seen
        value, i = SEED ^ np.uint64(end - start), start
        met = letters = signs = first = np.uint64(0)
        while i < end:
            eight = load_some(base, i, end, limit)
            value = fold_product(value ^ eight, STEP)
            met |= eight
            lower = eight | LOWER
            letter = (lower + FROM_A) & ~(lower + AFTER_Z)
            letters |= letter
            sign = letter | (eight + FROM_0) & ~(eight + AFTER_9)
            if i == start:
                first = sign
            signs |= sign
            i += 8
        hashes[word] = fold_product(value ^ STEP, LAST)
        if not met & TOPS and signs & TOPS:
            seen += end - start
            kinds[word] = SOLID | ALNUM | (ALPHA if letters & TOPS else 0) | (FIRST_ALNUM if first & np.uint64(0x80) else 0)
            continue
        some, every, i, before = np.uint8(0), np.uint8(255), start, seen
        while i < end:
            code, width = decode_char(base, i, end)
            kind = table[code]
            if i == start:
                some |= kind & FIRST_ALNUM
            some |= kind & (ALPHA | ALNUM | SOLID)
            every &= kind
            seen += 1
            i += width
        kinds[word] = some | every & (PUNCT | PERIOD if seen - before == 1 else PUNCT)
    chars[len(starts) - 1] = seen
