"""Keep pages with enough long paragraphs, as mC4 does.

A paragraph is a line between newlines (`str.split("\\n")`), blanks at its ends included. It counts when it has at least
`min_paragraph_chars` code points; a page with fewer than `min_paragraphs` of them is dropped for
`too_few_paragraphs`, with their number as the value. A null text has none.

Source: Xue et al. 2021, arXiv:2010.11934, section 3.1, and `c4_utils.py` of TensorFlow Datasets; datatrove 0.10 has the same
rule as `C4ParagraphFilter` (three lines, the third longest of which has 200 characters).

Decisions. Only the newline ends a paragraph, as published; `c4_quality` cuts at every line break. Lengths are counted in
UTF-8 by the bytes that begin a character, without decoding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pyarrow as pa
from annotated_types import Ge

from curate.api.batch import Batch, Kernel, drop_where
from curate.api.stage import Stage


@dataclass(frozen=True, kw_only=True)
class C4Paragraphs(Stage):
    """Drops pages with too few long paragraphs."""

    min_paragraphs: Annotated[int, Ge(1)] = 3
    min_paragraph_chars: Annotated[int, Ge(0)] = 200
    values: bool = False
    """Write the number of long paragraphs as the column c4_paragraphs."""

    reasons = ("too_few_paragraphs",)

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        return {"c4_paragraphs": pa.float64()} if self.values else {}

    def open(self) -> Kernel:
        from curate.text.rules.c4 import count_paragraphs

        def kernel(batch: Batch) -> Batch:
            paragraphs = count_paragraphs(batch.buffers, self.min_paragraph_chars)
            few = paragraphs < self.min_paragraphs
            batch = drop_where(batch, few, self.reasons[0], value=paragraphs, limit=self.min_paragraphs)
            return batch.put("c4_paragraphs", pa.array(paragraphs.astype(np.float64))) if self.values else batch

        return kernel
