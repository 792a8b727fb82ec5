"""Predict how much a document helps the model in training, by MATES's influence model; `select` chooses by the column.

Scores are standardised influences: 0 is the mean of the training targets, 1 their standard deviation; higher is better. A text
that is null or has no word has no score. Texts go through the encoder by length, so that padding costs next to nothing. Scores
are written to the response log as they come: a retried shard computes none of them twice.

Source: Yu et al. 2024, "MATES" (arXiv:2406.06046), section 4.2. There lower is better, since losses are predicted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
from annotated_types import Ge

from curate.api.batch import Batch, Kernel
from curate.api.stage import LoggedKernel, Stage
from curate.config.options import ScorerPath
from curate.models.card import check_column
from curate.models.influence import load_influence_card
from curate.stages.refine.lm_stage import texts_of
from curate.storage.response_log import ResponseLog


@dataclass(frozen=True, kw_only=True)
class Influence(Stage):
    """One model, one column."""

    scorer: ScorerPath
    """The folder of an influence model: card.md, weights, tokenizer."""
    column: str = "influence"
    device: str = "cpu"
    """Device of the model, as torch names it."""
    gpus: Annotated[float, Ge(0)] = 0
    """GPUs per worker."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type that the encoder computes in. On GPUs bfloat16 is as good and twice as fast."""
    batch_tokens: Annotated[int, Ge(1)] = 8192

    exact = False

    def __post_init__(self) -> None:
        load_influence_card(self.scorer)
        check_column(self.column)

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        return {self.column: pa.float32()}

    @property
    def resources(self) -> Mapping[str, float]:
        return {"num_gpus": self.gpus} if self.gpus else {}

    @property
    def packages(self) -> tuple[str, ...]:
        return ("torch", "transformers")

    def open(self) -> Kernel:
        import torch

        from curate.lm.encoder import begin

        card = load_influence_card(self.scorer)
        model = begin(self.scorer, window=card.window, max_windows=card.max_windows, dropout=0.0, seed=0)
        model = model.to(self.device).eval()
        autocast: Callable[[], AbstractContextManager[None]] = lambda: torch.autocast(  # noqa: E731
            self.device.split(":")[0], torch.bfloat16, enabled=self.dtype == "bfloat16"
        )
        model_key = f"{card.sha256} {self.dtype}"

        def kernel(batch: Batch, log: ResponseLog) -> Batch:
            texts = texts_of(batch)
            keys = [text and hashlib.sha256(f"{model_key}\0{text}".encode()).hexdigest() for text in texts]
            wanted = {key: text for key, text in zip(keys, texts, strict=True) if key and text}
            scored = log.find(wanted)
            missing = {key: text for key, text in wanted.items() if key not in scored}
            if missing:
                with autocast():
                    scores = model.predict(list(missing.values()), self.batch_tokens)
                new = {key: float(np.float32(score)) for key, score in zip(missing, scores.tolist(), strict=True)}
                log.add(new)
                scored.update(new)
            return batch.put(self.column, pa.array([scored[key] if key else None for key in keys], pa.float32()))

        return LoggedKernel(kernel)
