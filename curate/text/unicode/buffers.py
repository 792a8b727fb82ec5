"""The bytes behind an Arrow string column as numpy views, for kernels that read UTF-8 in place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Array = TypeVar("Array", bound=npt.NDArray[Any])


@dataclass(frozen=True)
class TextBuffers:
    """Row r is data[starts[r]:ends[r]]; null rows are empty. Nothing is copied but `ends`, and that only for nulls.

    All three are read-only: a compiled kernel is specialised by that flag, and one column in two would compile twice.
    """

    data: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]


def text_buffers(texts: pa.Array) -> TextBuffers:
    """Views of a string array, slices and offsets respected."""
    texts = texts.cast(pa.large_string())
    _, offset_buffer, data_buffer = texts.buffers()
    rows = len(texts)
    # An array without rows may come without an offsets buffer, one without characters without a data buffer.
    offsets = np.frombuffer(offset_buffer, np.int64)[texts.offset :][: rows + 1] if rows else np.zeros(1, np.int64)
    data = np.frombuffer(data_buffer or b"", np.uint8)
    starts, ends = offsets[:-1], offsets[1:]
    if texts.null_count:
        ends = np.where(texts.is_valid().to_numpy(zero_copy_only=False), ends, starts)
    return TextBuffers(_frozen(data), _frozen(starts), _frozen(ends))


def _frozen(array: Array) -> Array:
    array.flags.writeable = False
    return array
