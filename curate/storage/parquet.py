"""Parquet files of a run: staged pieces per shard, and the final files in canonical order.

Final files are a function of the sequence of rows alone: row groups are cut where a running count of rows or bytes says,
never where a batch or a shard happened to end, and every row group is written from one contiguous table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.storage import store
from curate.storage.store import Store

_STAGED_GROUP_BYTES = 16 * 2**20
GROUP_ROWS = 10_000
GROUP_BYTES = 64 * 2**20


@dataclass(frozen=True)
class FileRecord:
    """What a shard manifest or a marker records of a file."""

    rows: int
    bytes: int
    sha256: str


class TableWriter:
    """Writes one Parquet file through the store: whole or absent. Use as a context manager, then read `record`."""

    def __init__(self, target: Store, name: str, schema: pa.Schema, *, canonical: bool = False) -> None:
        self._target, self._name, self._schema, self._canonical = target, name, schema, canonical
        self._held: list[pa.RecordBatch] = []
        self._held_bytes = self._held_rows = 0
        self.rows = 0
        self.record = FileRecord(0, 0, "")

    def __enter__(self) -> TableWriter:
        self._creation = self._target.create(self._name)
        self._path = self._creation.__enter__()
        options: dict[str, Any] = {"compression": "zstd", "compression_level": 3 if self._canonical else 1}
        if not self._canonical:
            options |= {"use_dictionary": False, "write_statistics": False}
        self._writer = pq.ParquetWriter(self._path, self._schema, **options)
        return self

    def write(self, records: pa.RecordBatch) -> None:
        self.rows += records.num_rows
        if self._canonical:
            self._write_canonical(records)
            return
        self._hold(records, records.nbytes)
        if self._held_bytes >= _STAGED_GROUP_BYTES:
            self._flush()

    def _write_canonical(self, records: pa.RecordBatch) -> None:
        """Cut before the row that would exceed GROUP_ROWS or GROUP_BYTES; a group holds one row at least."""
        ends = np.cumsum(row_bytes(records))
        start = 0
        while start < records.num_rows:
            before = int(ends[start - 1]) if start else 0
            fits = int(np.searchsorted(ends, before + GROUP_BYTES - self._held_bytes, side="right"))
            stop = min(fits, start + GROUP_ROWS - self._held_rows, records.num_rows)
            if stop <= start and not self._held_rows:
                stop = start + 1
            if stop > start:
                self._hold(records.slice(start, stop - start), int(ends[stop - 1]) - before)
            if stop < records.num_rows:
                self._flush()
            start = max(start, stop)

    def _hold(self, records: pa.RecordBatch, size: int) -> None:
        self._held.append(records)
        self._held_rows += records.num_rows
        self._held_bytes += size

    def _flush(self) -> None:
        if self._held:
            table = pa.Table.from_batches(self._held, self._schema).combine_chunks()
            self._writer.write_table(table, row_group_size=max(1, table.num_rows))
        self._held, self._held_bytes, self._held_rows = [], 0, 0

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self._flush()
        self._writer.close()
        if kind is None:
            with open(self._path, "rb") as file:
                size = file.seek(0, 2)
            self.record = FileRecord(self.rows, size, store.file_hash(self._path))
        self._creation.__exit__(kind, error, trace)


def row_bytes(records: pa.RecordBatch) -> Any:
    """Bytes of text and binary columns per row, shape (rows,)."""
    total = np.zeros(records.num_rows, np.int64)
    for column in records.columns:
        width = _offset_type(column.type)
        if width is not None and len(column):
            offsets = np.frombuffer(column.buffers()[1], width)[column.offset : column.offset + len(column) + 1]
            total += np.diff(offsets)
    return total


def _offset_type(kind: pa.DataType) -> type[np.signedinteger[Any]] | None:
    if pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
        return np.int64
    return np.int32 if pa.types.is_string(kind) or pa.types.is_binary(kind) else None


def read_batches(target: Store, name: str, columns: list[str] | None = None, rows: int = 1024) -> Iterator[pa.RecordBatch]:
    """The record batches of a file of the store, in order."""
    with store.passing_faults(name):
        file = pq.ParquetFile(target.open(name))
        for group in range(file.num_row_groups):
            yield from file.iter_batches(rows, row_groups=[group], columns=columns, use_threads=False)


def schema(columns: Mapping[str, pa.DataType]) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in columns.items()])
