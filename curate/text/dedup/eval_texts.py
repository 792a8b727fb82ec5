"""Reads evaluation files: every string of every item is a *passage*, with the place where a user can look it up.

Files are JSON lines (one object per line) or Parquet, the former plain or packed. A folder stands for all such files below it,
other files in it are passed over. An item is a line or row, numbered from 1, blank lines counted, so that line 17 of the file
is item 17. Strings are taken from lists and objects inside an item too; the field of `{"choices": {"text": ["a", "b"]}}` is
`choices.text`, of both. Numbers, dates and null are no passages.
"""

from __future__ import annotations

import json
import lzma
import posixpath
import zlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from curate.errors import SpecError, known_values
from curate.storage import store

ENDINGS = (".parquet", *(f".jsonl{packed}" for packed in ("", ".gz", ".zst", ".bz2", ".xz")))


@dataclass(frozen=True)
class Passages:
    """Passage p is texts[p], of item items[p] of benchmarks[files[p]]."""

    benchmarks: list[str]
    """Names of the files: that of the path given, and within a folder what leads from there to the file."""
    assets: npt.NDArray[np.int64]
    """Shape (benchmarks,): the place of the path in the list given."""
    texts: pa.Array
    files: npt.NDArray[np.int32]
    items: npt.NDArray[np.int64]
    fields: list[str]

    def place(self, passage: int) -> str:
        """Where a passage stands: `arc_easy/test.jsonl.gz:17 question`."""
        return f"{self.benchmarks[self.files[passage]]}:{self.items[passage]} {self.fields[passage]}"


def read_passages(paths: Sequence[str], fields: Sequence[str] | None = None) -> Passages:
    """All passages of the files at `paths`, or those of the named fields and the fields inside them.

    Raises SpecError for a path without files, a file that cannot be read or has no items, and a field that no item has.
    """
    benchmarks: list[str] = []
    assets: list[int] = []
    known: set[str] = set()
    files, items, names, texts = array("i"), array("q"), list[str](), list[str]()
    for asset, path in enumerate(paths):
        for url, name in _files(path):
            item = 0
            for item, value in _items(url):
                for field, text in _strings(value, ""):
                    known.add(field)
                    if fields is None or any(_covers(wanted, field) for wanted in fields):
                        files.append(len(benchmarks))
                        items.append(item)
                        names.append(field)
                        texts.append(text)
            if not item:
                raise SpecError(f"{url!r} has no items: an evaluation file has one per line or row. Take it out.")
            benchmarks.append(name)
            assets.append(asset)
    for wanted in fields or ():
        if not any(_covers(wanted, field) for field in known):
            raise SpecError(f"fields: no item has a text {wanted!r}. {known_values(wanted, known)}")
    column = pa.array(texts, pa.large_string())
    return Passages(benchmarks, np.array(assets), column, np.array(files), np.array(items), names)


def _covers(wanted: str, field: str) -> bool:
    return field == wanted or field.startswith(f"{wanted}.")


def name_of(path: str) -> str:
    """What the files of a path are called: by its last part, so that a copy elsewhere has the same name."""
    return posixpath.basename(path.rstrip("/"))


def _files(path: str) -> Iterator[tuple[str, str]]:
    """(URL, name) of every evaluation file of a path."""
    found = store.expand(path)
    alone = len(found) == 1 and name_of(found[0]) == name_of(path)
    urls = [url for url in found if url.endswith(ENDINGS)]
    if not urls:
        what = "is no evaluation file" if alone else "has no evaluation files"
        raise SpecError(f"{path!r} {what}. Known endings: {', '.join(ENDINGS)}.")
    for url in urls:
        below = "" if alone else url[url.rindex(f"{name_of(path)}/") + len(name_of(path)) :]
        yield url, name_of(path) + below


def _items(url: str) -> Iterator[tuple[int, Any]]:
    read = _parquet_rows if url.endswith(".parquet") else _json_lines
    try:
        with store.passing_faults(url):
            yield from read(url)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, pa.ArrowInvalid) as error:
        raise SpecError(f"{url!r} cannot be read: {error}. Is it whole?") from error


def _parquet_rows(url: str) -> Iterator[tuple[int, Any]]:
    with store.open_file(url) as file:
        number = 0
        for batch in pq.ParquetFile(file).iter_batches(1024):
            for row in batch.to_pylist():
                number += 1
                yield number, row


def _json_lines(url: str) -> Iterator[tuple[int, Any]]:
    with store.open_decompressed(url) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise SpecError(f"{url!r}, line {number}: no JSON: {error}. One object per line is read.") from error
            if not isinstance(value, dict):
                raise SpecError(f"{url!r}, line {number}: a {type(value).__name__}. One object per line is read.")
            yield number, value


def _strings(value: Any, field: str) -> Iterator[tuple[str, str]]:
    """(field, text) of all strings of a value."""
    if isinstance(value, str):
        # JSON can hold halves of surrogate pairs.
        yield field, value if value.isascii() else value.encode("utf-8", "replace").decode()
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part, field)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _strings(part, f"{field}.{key}" if field else key)
