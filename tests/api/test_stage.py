"""Editing some rows of a batch."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from curate.api.batch import Batch, drop_where, edit_rows
from curate.schema import EDITS, TEXT


def test_a_few_rows_are_edited_whatever_their_order_and_the_others_stay() -> None:
    batch = Batch(pa.record_batch({TEXT: pa.array(["one", None, "two", "three", "four"], pa.large_string())}))
    batch = drop_where(batch, np.arange(5) == 3, "unwanted")
    rows = {
        4: ("4", [("digit", 0, 4, "4")]),
        3: ("3", [("digit", 0, 5, "3")]),
        0: ("1", [("digit", 0, 3, "1")]),
        2: ("two", []),
    }
    batch = edit_rows(batch, rows)
    assert batch[TEXT].to_pylist() == ["1", None, "two", "three", "4"]
    assert [edits and edits[0]["replacement"] for edits in batch[EDITS].to_pylist()] == ["1", None, None, None, "4"]


def test_no_edits_leave_the_batch_as_it_is() -> None:
    batch = Batch(pa.record_batch({TEXT: pa.array(["one"], pa.large_string())}))
    assert edit_rows(batch, {0: ("one", [])}) is batch
