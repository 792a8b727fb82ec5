"""Remove the second and later copies of a line within a document.

Lines are cut at line feeds only and compared without the white space around them, in lower case unless `ignore_case` is
false; blank lines are no copies of each other and stay. Lines shorter than `min_line_chars` code points, the white space
around them not counted, stay too. A copy goes together with the line feed before it; nothing else of the text changes.
Edits: `repeated_line`.

Source: Li et al. 2024, "DataComp-LM" (arXiv:2406.11794), `within_page_dedup` of its reproduction of C4 (Raffel et al. 2020,
arXiv:1910.10683, section 2.2, where lines are compared across the corpus); the default options give its text.

Decisions. Lower case is `str.lower` of the whole line. A document never becomes shorter than its distinct lines, so none
is dropped. Copies across documents are left to `line_dedup_global`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pyarrow as pa
from annotated_types import Ge

from curate.api.batch import Batch, Edit, Kernel, edit_rows
from curate.api.stage import Stage
from curate.schema import TEXT


@dataclass(frozen=True, kw_only=True)
class LineDedup(Stage):
    """Remove repeated lines within a document."""

    ignore_case: bool = True
    min_line_chars: Annotated[int, Ge(0)] | None = None
    """Shorter lines stay, however often they occur."""

    reasons = ()

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        return {TEXT: pa.large_string()}

    def open(self) -> Kernel:
        from curate.text.rules.repeated_lines import repeating

        def kernel(batch: Batch) -> Batch:
            repeats = repeating(batch.buffers, ignore_case=self.ignore_case, min_chars=self.min_line_chars or 0)
            rows = np.flatnonzero(repeats)
            texts = batch[TEXT].take(pa.array(rows)).to_pylist()
            return edit_rows(batch, {row: self._dedup(text) for row, text in zip(rows.tolist(), texts, strict=True)})

        return kernel

    def _dedup(self, text: str) -> tuple[str, list[Edit]]:
        kept: list[str] = []
        edits: list[Edit] = []
        seen: set[str] = set()
        min_chars, start = max(self.min_line_chars or 0, 1), 0
        for line in text.split("\n"):
            bare = line.strip()
            key = bare.lower() if self.ignore_case else bare
            if len(bare) >= min_chars and key in seen:
                edits.append(("repeated_line", start - 1, start + len(line), ""))
            else:
                kept.append(line)
            if len(bare) >= min_chars:
                seen.add(key)
            start += len(line) + 1
        return "\n".join(kept), edits
