"""Score texts with any scorer card and write the scores as columns. `keep` and `select` choose by them.

A text that is null, or contains no word that the model knows, has no score (NaN); `keep` and `select` drop it for `no_score`.
Consecutive stages whose cards prepare texts alike prepare each text once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from curate.api.batch import Batch, Kernel
from curate.api.stage import Stage
from curate.config.options import ScorerPath
from curate.models.card import check_column, load_card
from curate.models.load import load_scorer
from curate.schema import TEXT


@dataclass(frozen=True, kw_only=True)
class Score(Stage):
    """Writes the scores of one model as one or more columns."""

    scorer: ScorerPath
    """The folder of a scorer: card.md and its model."""
    column: str | None = None
    """Another name for the column, for a card with one column."""

    revision = 2

    def __post_init__(self) -> None:
        columns = load_card(self.scorer).columns
        check_column(self.column or next(iter(columns)))
        if self.column and len(columns) > 1:
            raise ValueError(f"column: the card has {len(columns)} columns ({', '.join(columns)}); they keep their names")

    def _names(self) -> dict[str, str]:
        """Column of the card -> column of the batch."""
        return {name: self.column or name for name in load_card(self.scorer).columns}

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        return {name: pa.float32() for name in self._names().values()}

    def open(self) -> Kernel:
        scorer, names = load_scorer(self.scorer), self._names()

        def kernel(batch: Batch) -> Batch:
            scores = scorer.score(batch.view(scorer.view, lambda: scorer.prepare(batch[TEXT])))
            for column, name in names.items():
                batch = batch.put(name, pa.array(scores[column]))
            return batch

        return kernel
