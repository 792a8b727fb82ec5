"""Judge documents and clean them in one pass of a refiner: `prox_doc` and `prox_chunk` for what one of them costs.

A `scorer` gives the probability that a document should stay, and those of its lines, from the same forward pass over the same
windows. Documents below `min_keep` are dropped (`prox_drop`), others cleaned. With null nothing is dropped, and the column is
there for `keep` or `select`. What is asked, and all the rest, is as in those stages.

A `model` that answers to one of the published templates is asked about documents and about chunks in different words, so there
is nothing to share: use the two stages.
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
from curate.stages.refine.lm_stage import closing, texts_of
from curate.stages.refine.prox_chunk import DROPS, EditingStage
from curate.storage.response_log import ResponseLog


@dataclass(frozen=True, kw_only=True)
class Prox(EditingStage):
    """A scorer's opinion of documents, and its programs for those that stay."""

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
    def judged(self) -> Mapping[str, str]:
        return {"prox_drop": self.column}

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        return {**super().writes, self.column: pa.float32()}

    def open(self) -> Kernel:
        card = self.card
        assert card is not None
        asker = self.asker(card.window + 1, reads=True)
        reader = LineClassifier(asker, card)
        if self.self_test:
            self.check_known_pages(self.programs_of(GOOD, reader.read(GOOD, ResponseLog(), overlapping=self.overlap), card))

        def ask(batch: Batch, answers: ResponseLog) -> Batch:
            readings = reader.read(texts_of(batch), answers, overlapping=self.overlap)
            scores = np.array([np.nan if reading is None else reading.keep for reading in readings], np.float32)
            batch = batch.put(self.column, pa.array(scores, from_pandas=True))
            if self.min_keep is not None:
                batch = drop_where(batch, scores < self.min_keep, "prox_drop", value=scores, limit=self.min_keep)
            programs = self.programs_of(self.ungated(batch), readings, card)
            return self.edited(batch, programs)

        return closing(ask, asker)
