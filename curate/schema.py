"""Column names, their Arrow types, and how a document is identified.

A document is a row. It is joined by its `ordinal`, a uint64 of (input file index << 40 | position in the file), never by
its `id`: ids are labels of the source and do repeat. The position is the byte offset of a WARC record or JSON line,
or the row number of a Parquet file, so that it does not depend on how a file is split into shards.
"""

import hashlib

import numpy as np
import numpy.typing as npt
import pyarrow as pa

ORDINAL = "ordinal"
ID = "id"
URL = "url"
TEXT = "text"
HTML = "html"
DROP = "drop"
EDITS = "edits"

POSITION_BITS = 40
MAX_POSITION = 2**POSITION_BITS - 1
MAX_INDEXES = 256
MAX_FILES = 2 ** (64 - POSITION_BITS) - MAX_INDEXES
INDEXED = MAX_FILES << POSITION_BITS
"""Ordinals from here on are documents of an index of an earlier run, in the deduplication of a later one."""

MAX_BATCH_ROWS = 1024
MAX_BATCH_BYTES = 32 * 2**20
# Documents with more text are dropped. One row still fits a batch with room to spare.
DEFAULT_MAX_DOCUMENT_BYTES = 16 * 2**20

DROP_TYPE = pa.struct([("reason", pa.string()), ("value", pa.float64()), ("limit", pa.float64()), ("detail", pa.string())])
EDITS_TYPE = pa.list_(
    pa.struct([("rule", pa.string()), ("start", pa.int64()), ("end", pa.int64()), ("replacement", pa.string())])
)
FETCHED_AT_TYPE = pa.timestamp("s", tz="UTC")

# Enough to fetch a document again, or to take it down; travels with every row.
PROVENANCE: dict[str, pa.DataType] = {
    "file": pa.string(),
    "offset": pa.int64(),
    "length": pa.int64(),
    "fetched_at": FETCHED_AT_TYPE,
    "http_status": pa.int32(),
}
IDENTITY: dict[str, pa.DataType] = {ORDINAL: pa.uint64(), ID: pa.string(), URL: pa.string()}
EDITED = "edited"
"""Internal column of a later segment's file: the text of this row replaces the earlier one."""
RESERVED = (ORDINAL, DROP, EDITS, EDITED)


def ordinal(file_index: int, position: int) -> int:
    """The document's join key. Raises ValueError when file index or position do not fit.

    >>> ordinal(1, 5) == 1 << 40 | 5
    True
    """
    if not 0 <= position <= MAX_POSITION or not 0 <= file_index < MAX_FILES:
        raise ValueError(f"file {file_index}, position {position} do not fit an ordinal ({MAX_FILES} files of 2^40)")
    return file_index << POSITION_BITS | position


def keyed_hash(values: npt.NDArray[np.uint64], purpose: str, seed: int = 0) -> npt.NDArray[np.uint64]:
    """Hash uint64 values to uniform uint64 values, without collisions.

    Draws for different purposes are independent though their seeds are equal: a sample, then a choice among what is left.

    >>> keyed_hash(np.array([0, 1], np.uint64), "sample") < 2**63
    array([ True,  True])
    """
    return mix(values, int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=8).digest(), "little") + seed)


def mix(values: npt.NDArray[np.uint64], key: int) -> npt.NDArray[np.uint64]:
    """`keyed_hash` with a key that is a purpose of its own. The mixer of splitmix64, a bijection.

    Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    """
    x = values + np.uint64(((key + 1) * 0x9E3779B97F4A7C15) % 2**64)  # numpy wraps modulo 2^64
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def compatible(found: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether values of type `found` may stand where `wanted` is read: strings of both widths are one kind, so are
    integers of all widths and moments of all units, and any number is good where a float is wanted."""
    if pa.types.is_floating(wanted):
        return bool(pa.types.is_floating(found) or pa.types.is_integer(found))
    if pa.types.is_timestamp(found) and pa.types.is_timestamp(wanted):  # Parquet has no seconds: they come back as ms
        return bool(found.tz == wanted.tz)
    kinds = (_is_text, _is_bytes, pa.types.is_integer)
    return bool(found == wanted or any(kind(found) and kind(wanted) for kind in kinds))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))
