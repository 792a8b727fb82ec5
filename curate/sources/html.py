"""A folder of saved pages: every file is one document. Small files are read many to a shard."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from curate.api.source import SPLIT_ROWS, TOO_LARGE, PathSource, ReadReport, Shard, batched, drop_reason
from curate.errors import DataError
from curate.schema import HTML, ordinal
from curate.storage import store
from curate.storage.store import InputFile


@dataclass(frozen=True, kw_only=True)
class HtmlSource(PathSource):
    """Reads HTML files. The id of a page is its path below the common folder."""

    url_prefix: str | None = None
    """The page's URL is this and its path, as `wget --mirror` lays pages out; without it pages have no URL."""

    @cached_property
    def _listing(self) -> list[tuple[str, str]]:
        """(url, path below the common folder) of all pages, in order; travels to the workers."""
        return [(found.url, found.name) for found in store.describe(self.files())]

    @property
    def columns(self) -> Mapping[str, pa.DataType]:
        return {HTML: pa.large_binary()}

    def shards(self, files: Sequence[InputFile]) -> list[Shard]:
        """The listing is one virtual file, its rows the pages."""
        _ = self._listing
        shards: list[Shard] = []
        start, size = 0, 0
        for row, found in enumerate(files):
            if row > start and (size + found.size > self.split_bytes or row - start >= SPLIT_ROWS):
                shards.append(self._shard(len(shards), start, row, size))
                start, size = row, 0
            size += found.size
        return [*shards, self._shard(len(shards), start, len(files), size)]

    def _shard(self, index: int, start: int, stop: int, size: int) -> Shard:
        folder = os.path.dirname(self._listing[start][0])
        return Shard(index, f"00000-pages.{index:03d}", folder, 0, start, stop, size, stop - start)

    def read(self, shard: Shard, report: ReadReport) -> Iterator[pa.RecordBatch]:
        yield from batched(self._rows(shard), self.columns)

    def _rows(self, shard: Shard) -> Iterator[tuple[dict[str, Any], int]]:
        for row in range(shard.start, shard.stop or len(self._listing)):
            url, name = self._listing[row]
            try:
                with store.open_file(url) as file:
                    content = file.read(self.max_document_bytes + 1)
            except OSError as error:
                raise DataError(f"{shard.name}: cannot read {url!r}: {error}") from error
            size = len(content)
            document: dict[str, Any] = {"ordinal": ordinal(0, row), "id": name, "file": url, "offset": 0, "length": size}
            document["url"] = None if self.url_prefix is None else self.url_prefix + name
            if size > self.max_document_bytes:
                yield {**document, "drop": drop_reason(TOO_LARGE, size, self.max_document_bytes)}, 0
            else:
                yield {**document, HTML: content}, size
