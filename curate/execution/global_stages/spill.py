"""Spill files carry rows from the tasks of one phase to the tasks of the next: one file per writer, one block per reader.

A file is a sequence of Arrow IPC streams (an empty block takes no bytes), followed by their offsets: one little-endian
64-bit integer per block, and one for the end of the last. A reader knows the number of blocks, so it reads two offsets and
then its block. Gathering a reader's rows from thousands of files costs two small requests per file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.errors import AccountingError
from curate.storage.run_dir import global_stage_folder_around
from curate.storage.store import Store

_OFFSET_BYTES = 8


def write_spill(target: Store, name: str, rows: pa.Table, blocks: npt.NDArray[np.int64], num_blocks: int) -> None:
    """Write `rows` as one file, whole or absent. Row r goes into block `blocks[r]` of `num_blocks`."""
    order = np.argsort(blocks, kind="stable")
    rows = rows.take(pa.array(order)).combine_chunks()
    edges = np.searchsorted(blocks[order], np.arange(num_blocks + 1))
    offsets = np.zeros(num_blocks + 1, "<i8")
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with target.create(name) as path, open(path, "wb") as file:
        for number in range(num_blocks):
            offsets[number] = file.tell()
            block = rows.slice(edges[number], edges[number + 1] - edges[number])
            if block.num_rows:
                with pa.ipc.new_stream(file, rows.schema, options=options) as writer:
                    writer.write_table(block)
        offsets[num_blocks] = file.tell()
        file.write(offsets.tobytes())


def _read_tables(source: Store, name: str, block: int | None, num_blocks: int) -> Iterator[pa.Table]:
    """The rows of one block (None: of all) of a file. Raises AccountingError where the file has been truncated."""
    footer = _OFFSET_BYTES * (num_blocks + 1)
    with source.reading(name) as file:
        size = file.seek(0, 2)
        start = end = -1
        if size >= footer:
            file.seek(size - footer + _OFFSET_BYTES * (block or 0))
            offsets = np.frombuffer(file.read(2 * _OFFSET_BYTES if block is not None else footer), "<i8")
            start, end = int(offsets[0]), int(offsets[-1])
        if not 0 <= start <= end <= size - footer:
            folder = global_stage_folder_around(name)
            raise AccountingError(f"{name} has been cut. Delete {folder} and run the same command again.")
        file.seek(start)
        data = pa.BufferReader(file.read(end - start))
    while data.tell() < end - start:
        with pa.ipc.open_stream(data) as reader:
            yield reader.read_all()


def read_block(source: Store, names: Iterable[str], block: int | None, num_blocks: int, schema: pa.Schema) -> pa.Table:
    """The rows of one block (None: of all) from all files, in the order of the files.

    Raises AccountingError where a file has been truncated.
    """
    tables = (table for name in names for table in _read_tables(source, name, block, num_blocks))
    return pa.concat_tables([schema.empty_table(), *tables])
