"""Filter and clean documents in one pass of a refiner: `prox_doc` and `prox_chunk` at the cost of one of them.

A `scorer` gives the probability that a document is kept, and those of its lines, from the same forward pass over the same
windows. Documents below `min_keep` are dropped (`prox_drop`), others are cleaned. With `min_keep: null` none is dropped, and
the column is there for `keep` or `select`. Everything else is as in those two stages.

A `model` with a published template needs different prompts for documents and for chunks, so nothing could be shared: use the
two stages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pyarrow as pa
from annotated_types import Ge, Le

from curate.api.batch import Batch, Kernel, drop_where
from curate.models.card import check_column
from curate.prox.self_test_pages import GOOD
from curate.stages.refine.line_classifier import LineClassifier
from curate.stages.refine.lm_stage import kernel_of, texts_of
from curate.stages.refine.prox_chunk import DROPS, EditingStage
from curate.storage.response_log import ResponseLog


@dataclass(frozen=True, kw_only=True)
class Prox(EditingStage):
    """A scorer's probability for each document, and its programs for those that are kept."""

    column: str = "prox_keep"
    min_keep: Annotated[float, Ge(0), Le(1)] | None = 0.5

    @property
    def reasons(self) -> tuple[str, ...]:
        return ("prox_drop", *DROPS)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_column(self.column)
        if self.scorer is None:
            raise ValueError("model: only a scorer judges and cleans in one pass. Use prox_doc, keep and prox_chunk")

    @property
    def value_columns(self) -> Mapping[str, str]:
        return {"prox_drop": self.column}

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        return {**super().writes, self.column: pa.float32()}

    def open(self) -> Kernel:
        card = self.card
        assert card is not None
        client = self.client(card.window + 1, bidirectional=True)
        classifier = LineClassifier(client, card)
        if self.self_test:
            scores_of_pages = classifier.score(GOOD, ResponseLog(), overlapping=self.overlap)
            self.check_known_pages(self.programs_of(GOOD, scores_of_pages, card))

        def apply(batch: Batch, log: ResponseLog) -> Batch:
            scores = classifier.score(texts_of(batch), log, overlapping=self.overlap)
            keep = np.array([np.nan if score is None else score.keep for score in scores], np.float32)
            batch = batch.put(self.column, pa.array(keep, from_pandas=True))
            if self.min_keep is not None:
                batch = drop_where(batch, keep < self.min_keep, "prox_drop", value=keep, limit=self.min_keep)
            return self.edited(batch, self.programs_of(self.ungated(batch), scores, card))

        return kernel_of(apply, client)
