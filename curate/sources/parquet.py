"""Parquet files with a `text` or an `html` column; all other columns are carried along.

A shard is a range of rows made of whole row groups where they are small enough. All footers are read and compared
before any document is: a schema that changes in file 900 is found in the first second.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.api.source import SPLIT_ROWS, TOO_LARGE, PathSource, ReadReport, Shard, Source, drop_reason, split_by_bytes
from curate.errors import DataError, SpecError, known_values
from curate.schema import (
    DROP,
    DROP_TYPE,
    HTML,
    ID,
    IDENTITY,
    MAX_BATCH_BYTES,
    MAX_BATCH_ROWS,
    ORDINAL,
    POSITION_BITS,
    PROVENANCE,
    RESERVED,
    TEXT,
    URL,
    compatible,
)
from curate.storage import store
from curate.storage.store import InputFile

_BODY_TYPES = {TEXT: pa.large_string(), HTML: pa.large_binary()}


@dataclass(frozen=True, kw_only=True)
class ParquetReader(Source):
    """Reads Parquet files, wherever their list comes from."""

    rereadable = True

    text: str | None = None
    """Column that holds the text; `text` unless `html` is given."""
    html: str | None = None
    """Column that holds HTML as bytes or string."""
    id: str | None = None
    """Column of ids; `id` if there is one, else ids are file name and row."""
    url: str | None = None
    """Column of URLs; `url` if there is one."""
    columns_kept: tuple[str, ...] | None = None
    """Other columns to carry along; all of them by default."""

    def __post_init__(self) -> None:
        if self.text and self.html:
            raise ValueError("give 'text' or 'html', not both: a document has one body")

    @property
    def body(self) -> str:
        return HTML if self.html else TEXT

    def __getstate__(self) -> dict[str, Any]:
        """Workers need the columns, not the listing."""
        _ = self.columns
        return {name: value for name, value in self.__dict__.items() if name not in ("_files", "_row_groups")}

    @cached_property
    def _files(self) -> list[str]:
        return self.files()

    @cached_property
    def _schema(self) -> pa.Schema:
        return _footer(self._files[0]).schema.to_arrow_schema().remove_metadata()

    @cached_property
    def _row_groups(self) -> dict[str, list[tuple[int, int]]]:
        """(rows, bytes) of the row groups of every file. Raises SpecError where two files differ in schema."""
        with ThreadPoolExecutor(16) as pool:
            return dict(zip(self._files, pool.map(self._survey, self._files), strict=True))

    def _survey(self, url: str) -> list[tuple[int, int]]:
        footer = _footer(url)
        schema = footer.schema.to_arrow_schema().remove_metadata()
        if not schema.equals(self._schema):
            difference = _difference(self._schema, schema)
            raise SpecError(f"paths: {url!r} has another schema than {self._files[0]!r}: {difference}.")
        groups = (footer.row_group(index) for index in range(footer.num_row_groups))
        return [(group.num_rows, group.total_byte_size) for group in groups]

    @cached_property
    def _renames(self) -> dict[str, str]:
        """Our name -> column in the file, for every column read."""
        names = self._schema.names
        wanted = {self.body: self.html or self.text or TEXT}
        for ours, given in ((ID, self.id), (URL, self.url)):
            if given or ours in names:
                wanted[ours] = given or ours
        for ours, column in wanted.items():
            if column not in names:
                raise SpecError(
                    f"paths: {self._files[0]!r} has no column {column!r} for {ours!r}. {known_values(column, names)}"
                )
        others = [n for n in names if n not in wanted.values()] if self.columns_kept is None else self.columns_kept
        for name in others:
            self._check_other(name, wanted)
        return {**wanted, **{name: name for name in others}}

    def _check_other(self, name: str, wanted: Mapping[str, str]) -> None:
        if name not in self._schema.names:
            raise SpecError(
                f"columns_kept: {self._files[0]!r} has no column {name!r}. {known_values(name, self._schema.names)}"
            )
        if name in RESERVED or name in wanted:
            raise SpecError(
                f"paths: {self._files[0]!r} has a column {name!r}, a name with a meaning of its own here. "
                f"Rename it, or list the columns to carry in 'columns_kept' without it ('[]' carries none; text, id "
                "and url are read anyway)."
            )
        if name in PROVENANCE and not compatible(self._schema.field(name).type, PROVENANCE[name]):
            raise SpecError(
                f"paths: column {name!r} of {self._files[0]!r} is {self._schema.field(name).type}; provenance needs "
                f"{PROVENANCE[name]}. Rename it, or leave it out of 'columns_kept'."
            )

    @property
    def columns(self) -> Mapping[str, pa.DataType]:
        body_type = self._schema.field(self._renames[self.body]).type
        text_like = compatible(body_type, pa.string())
        if not text_like and not (self.body == HTML and _is_binary(body_type)):
            raise SpecError(
                f"paths: column {self._renames[self.body]!r} is {body_type}, not text. Known: {self._schema.names}."
            )
        own = {ours: self._schema.field(column).type for ours, column in self._renames.items()}
        fixed = {**IDENTITY, **PROVENANCE}
        return {**{n: t for n, t in own.items() if n not in fixed}, self.body: _BODY_TYPES[self.body]}

    def pieces(self, found: InputFile) -> list[tuple[int, int | None, int, int | None]]:
        pieces: list[tuple[int, int | None, int, int | None]] = []
        start, size, rows = 0, 0, 0
        for group_rows, group_bytes in self._row_groups[found.url]:
            if rows and (size + group_bytes > self.split_bytes or rows + group_rows > SPLIT_ROWS):
                pieces.append((start, start + rows, size, rows))
                start, size, rows = start + rows, 0, 0
            size, rows = size + group_bytes, rows + group_rows
        return [*pieces, (start, start + rows, size, rows)]

    def read(self, shard: Shard, report: ReadReport) -> Iterator[pa.RecordBatch]:
        try:
            with store.passing_faults(shard.url):
                file = pq.ParquetFile(_opened(shard.url))
                for records, first in _rows(file, shard, list(self._renames.values())):
                    yield from split_by_bytes(self._document_batch(records, shard, first, check=not report.second_pass))
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{shard.name}: cannot read {shard.url!r}: {' '.join(str(error).split())}") from error

    def _document_batch(self, records: pa.RecordBatch, shard: Shard, first: int, *, check: bool) -> pa.RecordBatch:
        size = records.num_rows
        rows = np.arange(first, first + size, dtype=np.uint64)
        columns: dict[str, pa.Array] = {
            ours: records.column(records.schema.get_field_index(theirs)) for ours, theirs in self._renames.items()
        }
        columns[self.body] = columns[self.body].cast(_BODY_TYPES[self.body])
        columns[ORDINAL] = pa.array(rows + np.uint64(shard.file_index << POSITION_BITS))
        fallback = {"file": pa.repeat(pa.scalar(shard.url), size), "offset": pa.array(rows.astype(np.int64))}
        for name, dtype in {**IDENTITY, **PROVENANCE}.items():
            given = columns.get(name)
            exact = not pa.types.is_timestamp(dtype)  # a fraction of a second may be lost
            columns[name] = fallback.get(name, pa.nulls(size, dtype)) if given is None else given.cast(dtype, safe=exact)
        stem = shard.url.rsplit("/", 1)[-1]
        numbered = pc.binary_join_element_wise(stem, pa.array(rows).cast(pa.string()), ":")
        columns[ID] = pc.coalesce(columns[ID], numbered) if columns[ID].null_count else columns[ID]
        columns[DROP] = pa.nulls(size, DROP_TYPE)
        if check:
            columns[self.body], columns[DROP] = self._readable(columns[self.body])
        order = [*IDENTITY, *PROVENANCE, *self.columns, DROP]
        return pa.RecordBatch.from_arrays([columns[name] for name in order], names=order)

    @property
    def reasons(self) -> tuple[str, ...]:
        return (TOO_LARGE, "invalid_utf8")

    def _readable(self, body: pa.Array) -> tuple[pa.Array, pa.Array]:
        """Bodies and drop reasons. A body over `max_document_bytes`, or that is not UTF-8, becomes null and is dropped."""
        sizes = pc.fill_null(pc.binary_length(body), 0)
        drops: dict[int, dict[str, Any]] = {}
        if (pc.max(sizes).as_py() or 0) > self.max_document_bytes:
            for row, size in enumerate(sizes.to_pylist()):
                if size > self.max_document_bytes:
                    drops[row] = drop_reason(TOO_LARGE, size, self.max_document_bytes)
        for row, error in _undecodable(body):
            drops.setdefault(row, drop_reason("invalid_utf8", detail=error))
        if not drops:
            return body, pa.nulls(len(body), DROP_TYPE)
        bad = pa.array([row in drops for row in range(len(body))])
        return pc.if_else(bad, pa.scalar(None, body.type), body), pa.array(map(drops.get, range(len(body))), DROP_TYPE)


@dataclass(frozen=True, kw_only=True)
class ParquetSource(ParquetReader, PathSource):
    """Parquet files by path or glob."""


def from_row(shard: Shard, row: int) -> Shard:
    """The part of a shard from file row `row` on."""
    return replace(shard, start=max(shard.start, row))


def _opened(url: str) -> Any:
    # A path rather than a map: decoding from a map was a third slower.
    return store.open_file(url) if store.is_url(url) else url


def _footer(url: str) -> pq.FileMetaData:
    try:
        return pq.read_metadata(_opened(url))
    except (pa.ArrowException, OSError) as error:
        raise SpecError(
            f"paths: {url!r} is not a readable Parquet file: {' '.join(str(error).split()).rstrip('.')}. Remove or repair it."
        ) from error


def _rows(file: pq.ParquetFile, shard: Shard, columns: list[str]) -> Iterator[tuple[pa.RecordBatch, int]]:
    """(batch, row number of its first row) for rows start..stop of the file; row groups outside are not touched."""
    stop = file.metadata.num_rows if shard.stop is None else shard.stop
    sizes = [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]
    starts = [sum(sizes[:index]) for index in range(len(sizes))]
    groups = [i for i, (row, size) in enumerate(zip(starts, sizes, strict=True)) if row < stop and row + size > shard.start]
    first = starts[groups[0]] if groups else stop
    for records in file.iter_batches(_batch_rows(file, groups), row_groups=groups, columns=columns, use_threads=False):
        low, high = max(shard.start - first, 0), min(stop - first, records.num_rows)
        if low < high:
            yield records.slice(low, high - low), first + low
        first += records.num_rows


def _batch_rows(file: pq.ParquetFile, groups: Sequence[int]) -> int:
    """How many rows to decode at once: a batch's worth, and no more than about MAX_BATCH_BYTES in any group."""
    footers = [file.metadata.row_group(group) for group in groups]
    bounds = [MAX_BATCH_BYTES * footer.num_rows // max(1, footer.total_byte_size) for footer in footers]
    return int(max(1, min([MAX_BATCH_ROWS, *bounds])))


def _undecodable(body: pa.Array) -> Iterator[tuple[int, str]]:
    """(row, error) of texts that are not UTF-8, which nothing later could hold; arrow checks them all at memory speed."""
    try:
        body.validate(full=True)
        return
    except pa.ArrowInvalid:
        pass
    for row, content in enumerate(body.cast(pa.large_binary()).to_pylist()):
        try:
            (content or b"").decode()
        except UnicodeDecodeError as error:
            yield row, str(error)[:200]


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _difference(one: pa.Schema, other: pa.Schema) -> str:
    """The first column in which two schemas differ, in words."""
    for name in [*one.names, *other.names]:
        left, right = (s.field(name).type if name in s.names else "missing" for s in (one, other))
        if left != right:
            return f"column {name!r} is {left} there and {right} here. Read them in two runs, or rewrite one"
    return "the columns come in another order. Rewrite one, or read them in two runs"
