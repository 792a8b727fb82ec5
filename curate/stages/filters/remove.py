"""Remove documents by id or URL on request: the stage behind `remove:` in a pipeline file, always first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from curate.api.batch import Batch, Kernel, drop_where
from curate.api.stage import Stage
from curate.config.options import AssetPath
from curate.schema import ID, URL
from curate.storage import store


@dataclass(frozen=True, kw_only=True)
class Removal(Stage):
    """Drops the documents of lists with one id or URL per line."""

    ids: AssetPath | None = None
    urls: AssetPath | None = None

    reasons = ("removed_on_request",)

    @property
    def reads(self) -> Mapping[str, pa.DataType]:
        return {ID: pa.string(), URL: pa.string()}

    def open(self) -> Kernel:
        lists = [
            (column, pa.array(sorted(set(store.read_lines(path))), pa.string()))
            for column, path in ((ID, self.ids), (URL, self.urls))
            if path
        ]

        def kernel(batch: Batch) -> Batch:
            for column, listed in lists:
                batch = drop_where(batch, pc.is_in(batch[column], listed), "removed_on_request", detail=batch[column])
            return batch

        return kernel
