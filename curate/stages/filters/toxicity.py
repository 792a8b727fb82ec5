"""Drop documents, or remove lines, that a scorer finds toxic; the score is written as a column.

Any scorer card will do: a model of hate speech, of obscenity, of adult content, one stage for each. What a score means, and
so what `max` should be, depends on the model. `max: null` writes scores and does nothing else, and `curate whatif` shows what
a limit would do (`unit: document`, `values: true`).

- `unit: document`: the text has one score. A document above `max` is dropped (`toxic`).
- `unit: line`: every line that is not blank has a score, and the column has the highest of the document. Lines above `max` are
  removed (edits `toxic_line`); blank lines stay. A document without a remaining line is dropped (`nothing_left`), and so is
  one that loses more than `max_removed_frac` of its characters (`too_many_chars_removed`).

A text that is null, holds no word that the model knows, or has none but blank lines where lines are scored, has no score
(`no_score`), unless `max` is null.

Source: Soldaini et al. 2024, "Dolma" (arXiv:2402.00159): two fastText classifiers trained on Jigsaw's comments, for hate and
for adult content; what is above 0.4 is cut, and documents stay however much they lose, which is the default here.

Difference. Dolma scores sentences, which takes a model of sentences for each language; lines are there in every script. A
model trained on sentences finds less in long lines: where a text has one line per paragraph, `max` should be lower.

Decision. Lines are scored as they stand: a line feed is no part of any, white space around the text of one is, unless the
card's transform takes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from annotated_types import Ge, Le

from curate.api.batch import Batch, Kernel, drop_where
from curate.api.stage import Stage
from curate.config.options import ScorerPath
from curate.errors import known_values
from curate.models.card import load_card
from curate.models.load import load_scorer
from curate.schema import TEXT
from curate.stages.filters.remove_spans import remove_units

ScoreTexts = Callable[[Sequence[str | None]], npt.NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class Toxicity(Stage):
    """A limit on a scorer's column, for documents or for lines."""

    scorer: ScorerPath
    """The folder of a scorer: card.md and its model."""
    column: str | None = None
    """Column of the card. May be left out where the card has one only."""
    max: float | None
    """Null: scores are written, nothing is dropped or removed."""
    unit: Literal["document", "line"] = "document"
    max_removed_frac: Annotated[float, Ge(0), Le(1)] | None = None
    """Largest share of its characters that a document may lose, with `unit: line`."""
    values: bool = False
    """Record the column for every document the stage sees, dropped ones too: `curate whatif` can then move `max`."""

    revision = 2
    reasons = ("no_score", "toxic", "nothing_left", "too_many_chars_removed")

    def __post_init__(self) -> None:
        columns = list(load_card(self.scorer).columns)
        if self.column is None and len(columns) > 1:
            raise ValueError(f"column: the card has {len(columns)} columns ({', '.join(columns)}); say which")
        if self.column is not None and self.column not in columns:
            raise ValueError(f"column: the card has no {self.column!r}. {known_values(self.column, columns)}")
        if self.max_removed_frac is not None and not self.removes_lines:
            raise ValueError("max_removed_frac: lines are cut with 'unit: line' and a 'max' only")
        object.__setattr__(self, "column", self.column or columns[0])

    @property
    def removes_lines(self) -> bool:
        """Whether texts may change."""
        return self.unit == "line" and self.max is not None

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        assert self.column is not None
        return {**({TEXT: pa.large_string()} if self.removes_lines else {}), self.column: pa.float32()}

    def open(self) -> Kernel:
        scorer, column = load_scorer(self.scorer), self.column
        assert column is not None
        apply = self._score_lines if self.unit == "line" else self._score_documents
        return lambda batch: apply(batch, lambda texts: scorer(texts)[column])

    def _score_documents(self, batch: Batch, score: ScoreTexts) -> Batch:
        scores = score(batch[TEXT])
        batch = self._put(batch, scores)
        if self.max is not None:
            batch = drop_where(batch, scores > np.float64(self.max), "toxic", value=scores, limit=self.max)
        return batch

    def _score_lines(self, batch: Batch, score: ScoreTexts) -> Batch:
        texts = [(text or "").split("\n") for text in batch[TEXT].to_pylist()]
        line_numbers = [(row, n) for row, lines in enumerate(texts) for n, line in enumerate(lines) if line.strip()]
        scores = score([texts[row][n] for row, n in line_numbers])
        highest = np.full(len(batch), np.nan, np.float32)
        np.fmax.at(highest, [row for row, _ in line_numbers], scores)
        batch = self._put(batch, highest)
        if self.max is None:
            return batch
        toxic = np.flatnonzero(scores > np.float64(self.max))
        rows, numbers = np.array(line_numbers, np.int64).reshape(-1, 2)[toxic].T
        return remove_units(batch, rows, numbers, unit="line", rule="toxic_line", max_removed_frac=self.max_removed_frac)

    def _put(self, batch: Batch, scores: npt.NDArray[np.float32]) -> Batch:
        """Write the scores, and drop documents without one for `no_score` unless `max` is null."""
        assert self.column is not None
        batch = batch.put(self.column, pa.array(scores))
        return drop_where(batch, np.isnan(scores), "no_score") if self.max is not None else batch
