"""What a source is: it lists shards, and reads one shard as record batches in ascending `ordinal`.

Every batch has the columns of IDENTITY and PROVENANCE and those the source declares; a record that cannot be read is a
row with a verdict, or, where there is no document to speak of, a count in `ReadReport.records`. A source never raises for
what is inside a file; it raises DataError when the file itself cannot be opened or decoded any further.
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
    """A piece of one input file: positions start <= p < stop; `stop` None means to the end of the file."""

    index: int
    name: str
    url: str
    file_index: int
    start: int
    stop: int | None
    size: int
    """Bytes of the piece as stored."""
    documents: int | None = None
    """Rows, where the format tells."""


@dataclass
class ReadReport:
    """How a shard is read, and what was seen in it besides documents."""

    again: bool = False
    """Read for the second time, for documents that passed already: verdicts need not be found again."""

    records: Counter[str] = field(default_factory=Counter)
    """Records that are not documents, by type."""
    first: int | None = None
    """Position of the first record."""
    next: int | None = None
    """Position at which the record after the last one starts; the next shard of the file must begin there."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Base of all sources; the fields are the YAML keys."""

    rereadable: ClassVar[bool] = False
    """True when reading a shard again costs no more than reading a copy: nothing is staged then."""

    split_bytes: Annotated[int, Ge(2**10)] = SPLIT_BYTES
    max_document_bytes: Annotated[int, Ge(1)] = DEFAULT_MAX_DOCUMENT_BYTES

    @property
    def columns(self) -> Mapping[str, pa.DataType]:
        """Columns of documents beyond identity and provenance."""
        raise NotImplementedError

    @property
    def reasons(self) -> tuple[str, ...]:
        """Reasons for verdicts on records that cannot become documents."""
        return (TOO_LARGE,)

    def files(self) -> list[str]:
        """URLs of all input files, sorted."""
        raise NotImplementedError

    def shards(self, files: Sequence[InputFile]) -> list[Shard]:
        """All shards in canonical order (file, position). Raises SpecError where files do not fit together."""
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
        """How to split a file: (start, stop, bytes, documents if known). One piece unless the format can be entered."""
        return [(0, None, found.size, None)]

    def read(self, shard: Shard, reading: ReadReport) -> Iterator[pa.RecordBatch]:
        """The documents of a shard, ascending by ordinal, in batches within the bounds of `schema`."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class PathSource(Source):
    """A source that reads files by path or glob."""

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
    """A name to read in a listing, unique because of the file index: `00012-crawl_part-7`, `00012-big.003`."""
    stem = re.sub(r"(\.(warc|wet|arc|parquet|jsonl|json|html?|gz|zst))+$", "", name)
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._")[-80:]
    return f"{file_index:05d}-{readable or 'input'}" + (f".{number:03d}" if of > 1 else "")


def schema_of(columns: Mapping[str, pa.DataType]) -> pa.Schema:
    """The schema of a source's batches: identity, provenance, its own columns, verdicts."""
    return pa.schema({**IDENTITY, **PROVENANCE, **columns, DROP: DROP_TYPE})


def split_by_bytes(records: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Cut a batch so that no piece exceeds the bounds of `schema`, except for a single row that does so alone."""
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
    """Bytes of the variable-width columns per row."""
    total = np.zeros(records.num_rows, np.int64)
    for column in records.columns:
        kind = column.type
        if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
            total += np.diff(np.frombuffer(column.buffers()[1], np.int64)[column.offset : column.offset + len(column) + 1])
        elif pa.types.is_string(kind) or pa.types.is_binary(kind):
            total += np.diff(np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1])
    return [int(n) for n in total]


class RowBuffer:
    """Collects documents one by one and gives them out as batches: for sources that parse records."""

    def __init__(self, columns: Mapping[str, pa.DataType]) -> None:
        self._schema = schema_of(columns)
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def add(self, row: dict[str, Any], size: int) -> pa.RecordBatch | None:
        """Take a row of about `size` bytes; a full batch comes back when this row no longer fits."""
        full = self._rows and (len(self._rows) >= MAX_BATCH_ROWS or self._bytes + size > MAX_BATCH_BYTES)
        batch = self.flush() if full else None
        self._rows.append(row)
        self._bytes += size
        return batch

    def flush(self) -> pa.RecordBatch:
        """What is there, possibly no rows."""
        batch = pa.RecordBatch.from_pylist(self._rows, schema=self._schema)
        self._rows, self._bytes = [], 0
        return batch


def verdict(reason: str, value: float | None = None, limit: float | None = None, detail: str | None = None) -> dict[str, Any]:
    """A value of the `drop` column."""
    return {"reason": reason, "value": value, "limit": limit, "detail": detail}


def batched(rows: Iterable[tuple[dict[str, Any], int]], columns: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
    """Batches from (row, bytes) pairs."""
    buffer = RowBuffer(columns)
    for row, size in rows:
        if (batch := buffer.add(row, size)) is not None:
            yield batch
    if (batch := buffer.flush()).num_rows:
        yield batch
