"""Final files are a function of the rows alone, whatever batches they came in."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.storage import parquet as tables
from curate.storage.parquet import TableWriter
from curate.storage.store import Store, file_hash

ROWS = [{"id": str(n), "text": "x" * (n * 37 % 90 if n % 23 else 500)} for n in range(120)]
SCHEMA = pa.schema([("id", pa.string()), ("text", pa.large_string())])


def write(folder: Path, name: str, cuts: list[int]) -> Path:
    whole = pa.RecordBatch.from_pylist(ROWS, SCHEMA)
    with TableWriter(Store(str(folder)), name, SCHEMA, canonical=True) as writer:
        for start, stop in zip([0, *cuts], [*cuts, len(ROWS)], strict=True):
            writer.write(whole.slice(start, stop - start))
    path = folder / name
    assert (writer.record.rows, writer.record.sha256) == (len(ROWS), file_hash(str(path)))
    return path


def test_row_groups_are_cut_by_rows_and_bytes_and_never_by_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "GROUP_ROWS", 7)
    monkeypatch.setattr(tables, "GROUP_BYTES", 300)
    whole = write(tmp_path, "whole.parquet", [])
    draw = random.Random(0)
    for number in range(30):
        cuts = sorted(draw.sample(range(1, len(ROWS)), draw.randint(1, 40)))
        assert write(tmp_path, f"{number}.parquet", cuts).read_bytes() == whole.read_bytes(), cuts
    file = pq.ParquetFile(whole)
    groups = [file.read_row_group(index).to_pylist() for index in range(file.num_row_groups)]
    sizes = [sum(len(row["id"]) + len(row["text"]) for row in group) for group in groups]
    assert [row for group in groups for row in group] == ROWS
    assert all(len(group) <= 7 and (size <= 300 or len(group) == 1) for group, size in zip(groups, sizes, strict=True))
    assert {len(group) for group in groups} >= {1, 7}
