"""Rows on their way from many writers to many groups: one file per writer, one block per group, each block read alone.

A file is Arrow IPC streams one after the other (an empty group takes no bytes), then where they begin: one little-endian
64-bit number per group and one for the end of the last. A reader who knows how many groups there are reads two of these
numbers and then the block, so that a group is gathered from thousands of files with two small requests each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curate.errors import AccountingError
from curate.storage.store import Store

_NUMBER = 8


def write_spill(target: Store, name: str, rows: pa.Table, groups: npt.NDArray[np.int64], count: int) -> None:
    """Write `rows`; row r belongs to group groups[r], of `count` groups. Whole or absent."""
    order = np.argsort(groups, kind="stable")
    rows = rows.take(pa.array(order)).combine_chunks()
    edges = np.searchsorted(groups[order], np.arange(count + 1))
    places = np.zeros(count + 1, "<i8")
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with target.create(name) as path, open(path, "wb") as file:
        for group in range(count):
            places[group] = file.tell()
            block = rows.slice(edges[group], edges[group + 1] - edges[group])
            if block.num_rows:
                with pa.ipc.new_stream(file, rows.schema, options=options) as writer:
                    writer.write_table(block)
        places[count] = file.tell()
        file.write(places.tobytes())


def read_blocks(source: Store, name: str, group: int | None, count: int) -> Iterator[pa.Table]:
    """The rows of one group (None: of all), as far as it has any. Raises BooksError where the file has been cut."""
    table = _NUMBER * (count + 1)
    with source.reading(name) as file:
        size = file.seek(0, 2)
        start = end = -1
        if size >= table:
            file.seek(size - table + _NUMBER * (group or 0))
            read = np.frombuffer(file.read(2 * _NUMBER if group is not None else table), "<i8")
            start, end = int(read[0]), int(read[-1])
        if not 0 <= start <= end <= size - table:
            folder = name.split("/barrier/")[0]
            raise AccountingError(f"{name} has been cut. Delete {folder}/barrier and run the same command again.")
        file.seek(start)
        data = pa.BufferReader(file.read(end - start))
    while data.tell() < end - start:
        with pa.ipc.open_stream(data) as reader:
            yield reader.read_all()


def read_group(source: Store, names: Iterable[str], group: int | None, count: int, schema: pa.Schema) -> pa.Table:
    """The rows of one group (None: of all) from all files, in the order of the files."""
    blocks = (block for name in names for block in read_blocks(source, name, group, count))
    return pa.concat_tables([schema.empty_table(), *blocks])
