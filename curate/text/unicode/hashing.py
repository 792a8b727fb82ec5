"""One 64-bit hash of a run of bytes, for kernels: eight bytes at a time, mixed as in wyhash (Wang Yi, public domain).

The value belongs to this version of the code. Only indexes for deduplication store it: who changes it raises the revision of
the stages that make them, which then refuse older indexes. Two runs of bytes that differ share a hash
with probability 2**-64 unless somebody sets out to make them; nothing here is secret, so somebody could.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from curate.text.unicode.buffers import text_buffers

_emitted: Callable[[Callable[..., Any]], Any] = intrinsic

SEED = np.uint64(0xA0761D6478BD642F)
STEP = np.uint64(0xE7037ED1A0B428DB)
LAST = np.uint64(0x8EBC6AF09C88C6E3)


@_emitted
def load_u64(typing_context: Any, address: Any) -> Any:
    """The eight bytes at an address (an integer), little-endian. The caller answers for their being there."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = builder.inttoptr(arguments[0], ir.IntType(64).as_pointer())
        value = builder.load(pointer)
        value.align = 1
        return value

    return types.uint64(types.int64), generate


@_emitted
def fold_product(typing_context: Any, left: Any, right: Any) -> Any:
    """The 128-bit product of two 64-bit numbers, its halves xored."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(arguments[0], wide), builder.zext(arguments[1], wide))
        high = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))
        return builder.xor(builder.trunc(product, ir.IntType(64)), high)

    return types.uint64(types.uint64, types.uint64), generate


@_emitted
def upper_product(typing_context: Any, left: Any, right: Any) -> Any:
    """The upper half of the 128-bit product of two 64-bit numbers."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(arguments[0], wide), builder.zext(arguments[1], wide))
        return builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))

    return types.uint64(types.uint64, types.uint64), generate


@_emitted
def load_byte(typing_context: Any, address: Any) -> Any:
    """The byte at an address, as a 64-bit number."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        value = builder.load(builder.inttoptr(arguments[0], ir.IntType(8).as_pointer()))
        return builder.zext(value, ir.IntType(64))

    return types.uint64(types.int64), generate


@njit(inline="always")
def load_some(base, start, end, limit):  # type: ignore[no-untyped-def]
    """Up to eight bytes from base + start to base + end, padded with zeros; nothing beyond base + limit is read."""
    size = end - start
    if size >= 8:
        return load_u64(base + start)
    if start + 8 <= limit:
        return load_u64(base + start) & ((np.uint64(1) << np.uint64(8 * size)) - np.uint64(1))
    if end >= 8:  # the bytes before it are there
        return load_u64(base + end - 8) >> np.uint64(64 - 8 * size) if size else np.uint64(0)
    word = np.uint64(0)
    for i in range(size):
        word |= (load_byte(base + start + i)) << np.uint64(8 * i)
    return word


@njit(inline="always")
def hash_bytes(base, start, end, limit):  # type: ignore[no-untyped-def]
    """The hash of the bytes at addresses base + start to base + end (exclusive). `limit`: how many bytes follow `base`.

    `base` is `array.ctypes.data` of an array that outlives the call: an integer costs a kernel nothing, while numba counts
    references to every array that is handed to a function.
    """
    value = SEED ^ np.uint64(end - start)
    i = start
    while i < end:
        value = fold_product(value ^ load_some(base, i, end, limit), STEP)
        i += 8
    return fold_product(value ^ STEP, LAST)


@njit(cache=True)
def _hash_all(data):  # type: ignore[no-untyped-def]
    return hash_bytes(data.ctypes.data, 0, len(data), len(data))


def hash_column(texts: pa.Array) -> npt.NDArray[np.uint64]:
    """The hash of every text of a column. Shape (rows,); a null has that of an empty text."""
    given, hashes = text_buffers(texts), np.empty(len(texts), np.uint64)
    _hash_rows(given.data.ctypes.data, len(given.data), given.starts, given.ends, hashes)
    return hashes


@njit(nogil=True, cache=True)
def _hash_rows(base, limit, starts, ends, hashes):  # type: ignore[no-untyped-def]
    for row in range(len(hashes)):
        hashes[row] = hash_bytes(base, starts[row], ends[row], limit)


def hash_of(word: bytes) -> int:
    """The hash of some bytes, outside kernels."""
    return int(_hash_all(np.frombuffer(word, np.uint8)))


def hash_table(words: Sequence[bytes], rows: Sequence[int] | None = None) -> npt.NDArray[np.uint64]:
    """Open addressing, for `find_row`: the hash of each word, and the number that goes with it (by default its place)."""
    table = np.zeros((1 << (4 * len(words)).bit_length(), 2), np.uint64)
    for word, row in zip(words, rows or range(len(words)), strict=True):
        key = hash_of(word)
        at = key & (len(table) - 1)
        while table[at, 0]:
            at = (at + 1) & (len(table) - 1)
        table[at] = key, row
    return table


@njit(inline="always")
def find_row(key, table):  # type: ignore[no-untyped-def]
    """The row of a `hash_table` in which a hash stands; -1 for none."""
    at, found = np.int64(key & np.uint64(len(table) - 1)), np.int64(-1)
    while table[at, 0]:
        if table[at, 0] == key:
            found = at
            break
        at = (at + 1) & (len(table) - 1)
    return found


@_emitted
def store_u64(typing_context: Any, address: Any, value: Any) -> Any:
    """Write eight bytes to an address, little-endian. The caller answers for the room."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        stored = builder.store(arguments[1], builder.inttoptr(arguments[0], ir.IntType(64).as_pointer()))
        stored.align = 1
        return context.get_dummy_value()

    return types.void(types.int64, types.uint64), generate


@_emitted
def trailing_zeros(typing_context: Any, value: Any) -> Any:
    """How many zero bits stand below the lowest one of a 64-bit number; 64 for zero."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), generate


@_emitted
def prefetch(typing_context: Any, address: Any) -> Any:
    """Ask for the cache line at an address, which will be read soon."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        # For reading, to be kept, data.
        builder.call(function, [builder.inttoptr(arguments[0], pointer), number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(types.int64), generate
