"""Put a document together again from what the segments wrote: the newest file that has a column wins.

All files of a shard are sorted by ordinal and every later one holds a subset of the rows of the one before, so reading is
a merge of sorted streams that holds one batch per file. A source that is cheap to read is the lowest layer itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curate.api.source import ReadReport, Shard, split_by_bytes
from curate.errors import AccountingError
from curate.pipeline.plan import Plan
from curate.pipeline.steps import Columns, Segment
from curate.schema import EDITED, MAX_POSITION, ORDINAL, TEXT
from curate.sources.parquet import from_row
from curate.storage.parquet import read_batches
from curate.storage.run_dir import shard_file
from curate.storage.store import Store


class Cursor:
    """Takes rows by ordinal from a stream of batches sorted by it; only forward."""

    def __init__(self, batches: Iterator[pa.RecordBatch], label: str) -> None:
        self._batches = batches
        self._label = label
        self._held: pa.RecordBatch | None = None
        self._ordinals: npt.NDArray[np.uint64] = np.zeros(0, np.uint64)

    def take(self, ordinals: npt.NDArray[np.uint64]) -> pa.RecordBatch:
        """The rows with these ordinals, in order. Raises AccountingError when one is missing."""
        parts: list[pa.RecordBatch] = []
        while len(ordinals):
            if self._held is None or ordinals[0] > self._ordinals[-1]:
                self._advance(ordinals[0])
            count = int(np.searchsorted(ordinals, self._ordinals[-1], side="right"))
            index = np.searchsorted(self._ordinals, ordinals[:count])
            if not np.array_equal(self._ordinals[index], ordinals[:count]):
                raise AccountingError(f"{self._label}: a document is missing. The file was changed; delete its step and rerun.")
            parts.append(_pick(self._held, index))
            ordinals = ordinals[count:]
        return parts[0] if len(parts) == 1 else _join(parts)

    def _advance(self, ordinal: np.uint64) -> None:
        for held in self._batches:
            if held.num_rows:
                self._ordinals = held.column(ORDINAL).to_numpy()
                self._held = held
                if ordinal <= self._ordinals[-1]:
                    return
        raise AccountingError(
            f"{self._label}: ends before document {int(ordinal)}. The file was changed; delete its step and rerun."
        )


def _pick(held: pa.RecordBatch | None, index: npt.NDArray[np.intp]) -> pa.RecordBatch:
    assert held is not None
    if index[-1] - index[0] + 1 == len(index):
        return held.slice(int(index[0]), len(index))
    return held.take(pa.array(index))


def _join(parts: Sequence[pa.RecordBatch]) -> pa.RecordBatch:
    return pa.Table.from_batches(parts).combine_chunks().to_batches()[0]


def read_documents(
    plan: Plan,
    segments: Sequence[Segment],
    shard: Shard,
    store: Store,
    columns: Columns,
    skip: int = 0,
    count: int | None = None,
) -> Iterator[pa.RecordBatch]:
    """The documents left after the last of `segments`, with `columns`, in batches within bounds.

    `skip` and `count` choose a range of those documents, by their number in the shard.
    """
    survivors = _rows_of(store, segments[-1], shard, skip, count)
    sources = _owners(plan, segments, columns)
    cursors: dict[int, Cursor] = {}
    for layer in survivors:
        ordinals = layer.column(ORDINAL).to_numpy()
        if not cursors:
            cursors = {
                i: _cursor(plan, segments, i, shard, store, columns, int(ordinals[0]))
                for i in {*sources.values(), *_texts(segments)}
            }
        taken = {index: cursor.take(ordinals) for index, cursor in cursors.items()}
        arrays = [_column(name, segments, sources, taken, layer) for name in columns]
        yield from split_by_bytes(pa.RecordBatch.from_arrays(arrays, names=list(columns)))


def _rows_of(store: Store, last: Segment, shard: Shard, skip: int, count: int | None) -> Iterator[pa.RecordBatch]:
    """Ordinals of the documents in the range."""
    left = count
    for records in read_batches(store, shard_file(last.name, "data", shard.name), [ORDINAL]):
        size = records.num_rows
        records = records.slice(min(skip, size), left)
        skip = max(0, skip - size)
        if left is not None:
            left -= records.num_rows
        if records.num_rows:
            yield records
        if left == 0:
            return


def _owners(plan: Plan, segments: Sequence[Segment], columns: Columns) -> dict[str, int]:
    """Column -> index of the segment whose file has it whole (the newest); -1 is the source itself."""
    owners: dict[str, int] = {}
    for name in columns:
        whole = [s.index for s in segments if name in s.writes and not (name == TEXT and EDITED in s.writes)]
        owners[name] = whole[-1] if whole else -1
    return owners


def _texts(segments: Sequence[Segment]) -> list[int]:
    """Segments that hold new texts of edited rows only."""
    return [segment.index for segment in segments if EDITED in segment.writes]


def _cursor(
    plan: Plan, segments: Sequence[Segment], index: int, shard: Shard, store: Store, columns: Columns, first: int
) -> Cursor:
    if index < 0:
        batches = plan.source.read(from_row(shard, first & MAX_POSITION), ReadReport(second_pass=True))
        return Cursor(batches, shard.url)
    segment = segments[index]
    wanted = [name for name in segment.writes if name in columns or name in (ORDINAL, EDITED)]
    name = shard_file(segment.name, "data", shard.name)
    return Cursor(read_batches(store, name, wanted), name)


def _column(
    name: str, segments: Sequence[Segment], owners: dict[str, int], taken: dict[int, pa.RecordBatch], layer: pa.RecordBatch
) -> pa.Array:
    if name == ORDINAL:
        return layer.column(ORDINAL)
    array = taken[owners[name]].column(name)
    if name == TEXT:
        for index in _texts(segments):
            if index > owners[name]:
                newer = taken[index]
                array = pc.if_else(newer.column(EDITED), newer.column(TEXT), array)
    return array
