"""The contract of sources. A source lists shards, and reads a shard as record batches in ascending `ordinal`.

Every batch has the columns of IDENTITY and PROVENANCE, those the source declares, and `drop`. A document that cannot be
read is a row with a drop reason. A record that is no document, such as a DNS record, is counted in `ReadReport.records`.
A source raises DataError when a file cannot be opened, or not be decoded any further; damage inside a file raises nothing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from annotated_types import Ge

from curate.config.options import PatternPath
from curate.errors import SpecError
from curate.schema import (
    DEFAULT_MAX_DOCUMENT_BYTES,
    DROP,
    DROP_TYPE,
    IDENTITY,
    MAX_BATCH_BYTES,
    MAX_BATCH_ROWS,
    PROVENANCE,
)
from curate.storage import store
from curate.storage.store import InputFile

SPLIT_BYTES = 256 * 2**20
SPLIT_ROWS = 50_000
TOO_LARGE = "document_too_large"


@dataclass(frozen=True)
class Shard:
    """A piece of one input file: positions start <= p < stop. `stop` is None for a piece that ends with the file."""

    index: int
    name: str
    url: str
    file_index: int
    start: int
    stop: int | None
    size: int
    """Stored bytes of the piece."""
    documents: int | None = None
    """Number of documents, where the format tells it before reading."""


@dataclass
class ReadReport:
    """What a source reports about a shard besides its documents. The caller makes it, `Source.read` fills it in."""

    second_pass: bool = False
    """Set by the caller: the shard was read before, and only documents without a drop reason are used. A source may skip
    its checks."""

    records: Counter[str] = field(default_factory=Counter)
    """Number of records that are not documents, by type."""
    first_position: int | None = None
    """Position of the first record."""
    next_position: int | None = None
    """Position of the record after the last one. The next shard of the file must begin there."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Base of all sources. Subclasses are frozen keyword-only dataclasses; their fields are the YAML keys."""

    rereadable: ClassVar[bool] = False
    """True when a second pass over a shard costs no more than reading a staged copy of its documents."""

    split_bytes: Annotated[int, Ge(2**10)] = SPLIT_BYTES
    max_document_bytes: Annotated[int, Ge(1)] = DEFAULT_MAX_DOCUMENT_BYTES

    @property
    def columns(self) -> Mapping[str, pa.DataType]:
        """Columns of a document besides identity and provenance, with their types."""
        raise NotImplementedError

    @property
    def reasons(self) -> tuple[str, ...]:
        """Drop reasons of documents that cannot be read."""
        return (TOO_LARGE,)

    def files(self) -> list[str]:
        """URLs of all input files, sorted."""
        raise NotImplementedError

    def shards(self, files: Sequence[InputFile]) -> list[Shard]:
        """All shards in canonical order (file, position). Raises SpecError when two files get the same shard name."""
        shards: list[Shard] = []
        names: dict[str, str] = {}
        for file_index, found in enumerate(files):
            pieces = self.pieces(found)
            for number, (start, stop, size, documents) in enumerate(pieces):
                name = shard_name(file_index, found.name, number, len(pieces))
                if name in names:
                    raise SpecError(f"duplicate shard name {name!r}: {names[name]!r} and {found.url!r}. Rename one.")
                names[name] = found.url
                shards.append(Shard(len(shards), name, found.url, file_index, start, stop, size, documents))
        return shards

    def pieces(self, found: InputFile) -> list[tuple[int, int | None, int, int | None]]:
        """Split a file: (start, stop, bytes, documents if known) of each piece. One piece where no split is possible."""
        return [(0, None, found.size, None)]

    def read(self, shard: Shard, report: ReadReport) -> Iterator[pa.RecordBatch]:
        """Read the documents of a shard in ascending ordinals, in batches of bounded rows and bytes (see `batched`)."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class PathSource(Source):
    """Base of sources that read files by path or glob."""

    paths: PatternPath | tuple[PatternPath, ...]

    def patterns(self) -> tuple[str, ...]:
        return (self.paths,) if isinstance(self.paths, str) else tuple(self.paths)

    def files(self) -> list[str]:
        """URLs of all input files, sorted. Raises SpecError for a pattern without files or a file named twice."""
        if not self.patterns():
            raise SpecError("paths: [] names no file. Give a path or a glob.")
        owner: dict[str, str] = {}
        for pattern in self.patterns():
            urls = store.expand(pattern)
            if not urls:
                raise SpecError(f"paths: {pattern!r} matches no file. Check the path; globs may use *, ** and [a-z].")
            for url in urls:
                if url in owner:
                    raise SpecError(
                        f"paths: {url!r} is matched twice, by {owner[url]!r} and {pattern!r}. "
                        "Each file may be read once: make the patterns disjoint."
                    )
                owner[url] = pattern
        return sorted(owner)


def shard_name(file_index: int, name: str, number: int, of: int) -> str:
    """A readable name that the file index makes unique: `00012-crawl_part-7`, `00012-big.003`."""
    stem = re.sub(r"(\.(warc|wet|arc|parquet|jsonl|json|html?|gz|zst))+$", "", name)
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._")[-80:]
    return f"{file_index:05d}-{readable or 'input'}" + (f".{number:03d}" if of > 1 else "")


def schema_of(columns: Mapping[str, pa.DataType]) -> pa.Schema:
    """The schema of a source's batches: identity, provenance, the source's own columns, `drop`."""
    return pa.schema({**IDENTITY, **PROVENANCE, **columns, DROP: DROP_TYPE})


def split_by_bytes(records: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Split a batch into slices of at most MAX_BATCH_ROWS rows and MAX_BATCH_BYTES bytes. A larger row is a slice of its own.

    >>> rows = pa.record_batch({"text": ["x"] * 2500})
    >>> [piece.num_rows for piece in split_by_bytes(rows)]
    [1024, 1024, 452]
    """
    size = records.num_rows
    if size <= MAX_BATCH_ROWS and records.nbytes <= MAX_BATCH_BYTES:
        if size:
            yield records
        return
    start, total = 0, 0
    for row, weight in enumerate(_row_bytes(records)):
        if row > start and (row - start >= MAX_BATCH_ROWS or total + weight > MAX_BATCH_BYTES):
            yield records.slice(start, row - start)
            start, total = row, 0
        total += int(weight)
    yield records.slice(start)


def _row_bytes(records: pa.RecordBatch) -> list[int]:
    """Bytes of each row in the columns of variable width."""
    total = np.zeros(records.num_rows, np.int64)
    for column in records.columns:
        kind = column.type
        if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
            total += np.diff(np.frombuffer(column.buffers()[1], np.int64)[column.offset : column.offset + len(column) + 1])
        elif pa.types.is_string(kind) or pa.types.is_binary(kind):
            total += np.diff(np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1])
    return [int(n) for n in total]


class _RowBuffer:
    """Collects documents one by one and returns them as batches."""

    def __init__(self, columns: Mapping[str, pa.DataType]) -> None:
        self._schema = schema_of(columns)
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def add(self, row: dict[str, Any], size: int) -> pa.RecordBatch | None:
        """Add a row of about `size` bytes. Returns the batch before it when the row no longer fits in."""
        full = self._rows and (len(self._rows) >= MAX_BATCH_ROWS or self._bytes + size > MAX_BATCH_BYTES)
        batch = self.flush() if full else None
        self._rows.append(row)
        self._bytes += size
        return batch

    def flush(self) -> pa.RecordBatch:
        """The rows collected so far as a batch, which may be empty."""
        batch = pa.RecordBatch.from_pylist(self._rows, schema=self._schema)
        self._rows, self._bytes = [], 0
        return batch


def drop_reason(
    reason: str, value: float | None = None, limit: float | None = None, detail: str | None = None
) -> dict[str, Any]:
    """A value of the `drop` column: a document that cannot be read.

    >>> drop_reason("malformed_line", detail="no closing quote")
    {'reason': 'malformed_line', 'value': None, 'limit': None, 'detail': 'no closing quote'}
    """
    return {"reason": reason, "value": value, "limit": limit, "detail": detail}


def batched(rows: Iterable[tuple[dict[str, Any], int]], columns: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    """Collect (row, bytes) pairs into batches of a source with these columns. Columns that a row leaves out are null.

    >>> from curate.api import ordinal
    >>> rows = [({"ordinal": ordinal(0, 0), "id": "a", "text": "one"}, 3), ({"ordinal": ordinal(0, 1), "id": "b"}, 0)]
    >>> (batch,) = batched(rows, {"text": pa.large_string()})
    >>> batch["text"].to_pylist()
    ['one', None]
    """
    buffer = _RowBuffer(columns)
    for row, size in rows:
        if (batch := buffer.add(row, size)) is not None:
            yield batch
    if (batch := buffer.flush()).num_rows:
        yield batch
