"""Rows that were spilled into groups come back group by group, each once, whoever asks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.api.global_stage import KEY, key_ranges
from curate.errors import AccountingError
from curate.execution.global_stages.spill import read_block, write_spill
from curate.storage.store import Store

SCHEMA = pa.schema([(KEY, pa.uint64()), ("id", pa.string()), ("more", pa.large_list(pa.uint32()))])


def table(keys: list[int]) -> pa.Table:
    return pa.table({KEY: keys, "id": [f"{key:x}" for key in keys], "more": [[key % 7] * (key % 4) for key in keys]}, SCHEMA)


@given(
    st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=20), min_size=1, max_size=3),
    st.integers(1, 9),
    st.sampled_from(["file", "memory"]),
)
def test_every_row_is_in_its_group_once(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[int]], count: int, where: str
) -> None:
    store = Store(str(tmp_path_factory.mktemp("spill")) if where == "file" else f"memory://spill-{id(parts)}")
    names = [f"{number}.rows" for number in range(len(parts))]
    for name, keys in zip(names, parts, strict=True):
        write_spill(store, name, table(keys), key_ranges(table(keys), count), count)
    every = [key for keys in parts for key in keys]
    for group in range(count):
        mine = [key for key in every if key * count >> 64 == group]
        assert read_block(store, names, group, count, SCHEMA).equals(table(mine))
    whole = read_block(store, names, None, count, SCHEMA)
    assert sorted(whole[KEY].to_pylist()) == sorted(every)


def test_a_file_that_was_cut_is_no_group(tmp_path: Path) -> None:
    store = Store(str(tmp_path))
    write_spill(store, "a.rows", table([1, 2**63]), np.array([0, 1]), 2)
    whole = (tmp_path / "a.rows").read_bytes()
    for size in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "a.rows").write_bytes(whole[:size])
        with pytest.raises(AccountingError, match=r"has been cut\. Delete"):
            read_block(store, ["a.rows"], 1, 2, SCHEMA)
