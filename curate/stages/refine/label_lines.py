"""Programs that reduce a text to the lines of its reference text: training pairs for refiners.

The text is a page extracted loosely (`extract: {engine: resiliparse, content: all}`), the reference its main text: written down
by people, where there is such, or what a precise extractor finds. Their words are aligned in order (`prox/align.py`); lines
that are not the reference's are removed by the program, blank lines with those around them. Every program is executed before
it is written: what it leaves must be the lines that were meant.

`content_frac` is the share of the words of a text that stay; `reference_f1` compares the words that stay with those of the
reference, as bags. It is low where page and reference do not fit, such as pages that scripts fill in; `keep` draws the line.

Source: the pairs of ProX (Zhou et al. 2024, arXiv:2409.17115, section 2.3) are written by a language model of 70 B parameters.
Pages with a known main text need none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pyarrow as pa
from annotated_types import Ge, Lt

from curate.api.batch import Batch, drop_where
from curate.api.stage import Stage
from curate.prox import execute
from curate.prox.align import label_lines, word_f1, words_of
from curate.prox.execute import Limits
from curate.prox.line_masks import removal
from curate.schema import TEXT

_UNLIMITED = Limits(drop_removed_frac=1.0, min_words=0)


@dataclass(frozen=True, kw_only=True)
class LabelLines(Stage):
    """A program for every text that has a reference."""

    reference: str
    """The column of the reference."""
    min_line_frac: Annotated[float, Ge(0), Lt(1)] = 0.5
    """A line is kept when more than this share of its words is in the reference."""

    reasons = ("no_reference", "too_long_to_align", "program_fails")

    @property
    def reads(self) -> Mapping[str, pa.DataType]:
        return {TEXT: pa.large_string(), self.reference: pa.string()}

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        return {"program": pa.string(), "content_frac": pa.float32(), "reference_f1": pa.float32()}

    def apply(self, batch: Batch) -> Batch:
        texts, references = batch[TEXT].to_pylist(), batch[self.reference].to_pylist()
        rows = [self._row(text, reference) for text, reference in zip(texts, references, strict=True)]
        for number, (name, kind) in enumerate(self.writes.items()):
            batch = batch.put(name, pa.array([None if isinstance(row, str) else row[number] for row in rows], kind))
        for reason in self.reasons:
            batch = drop_where(batch, np.array([row == reason for row in rows], np.bool_), reason)
        return batch

    def _row(self, text: str | None, reference: str | None) -> tuple[str, float, float] | str:
        """Program, content_frac and reference_f1; or why there are none."""
        if not text or not reference or not words_of(reference):
            return "no_reference"
        lines = text.split("\n")
        keep = label_lines(lines, reference, self.min_line_frac)
        if keep is None:
            return "too_long_to_align"
        program = removal((~keep).tolist())
        left = "\n".join(line for line, kept in zip(lines, keep, strict=True) if kept)
        if execute(text, program, limits=_UNLIMITED).text != left:
            return "program_fails"
        kept_words, words = Counter(words_of(left)).total(), Counter(words_of(text)).total()
        return program, kept_words / max(1, words), word_f1(left, reference)
