"""Reads columns of the Parquet files of a finished run."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from curate.storage.run_dir import values_file
from curate.storage.store import Store


def parquet_files(store: Store, folder: str) -> list[str]:
    """The names of the Parquet files of a folder of a run."""
    return [f"{folder}/{name}" for name in store.list(folder) if name.endswith(".parquet")]


def read_with_values(store: Store, name: str, columns: list[str]) -> pa.Table:
    """Read columns of a file of `data/`. Columns that it does not have come from the file of `values/` beside it.

    Columns that neither file has are left out.
    """
    found: dict[str, Any] = {}
    for part in (name, values_file(name)):
        file = pq.ParquetFile(store.open(part))
        missing = [column for column in columns if column in file.schema_arrow.names and column not in found]
        table = file.read(missing)
        found |= {column: table[column] for column in missing}
    return pa.table({column: found[column] for column in columns if column in found})


def as_floats(values: Any) -> npt.NDArray[np.float64]:
    """Convert an Arrow array of numbers; null becomes NaN."""
    return np.asarray(values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))
