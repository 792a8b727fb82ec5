"""Line classifiers in torch, in this process, in float32."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from curate.errors import SpecError
from curate.lm.query import Query, QueryScores
from curate.models.lm_types import Completion, Serving, load_encoder


class TorchLineClassifier:
    """A refiner that `curate fit` trained. Raises SpecError for a model that is not a folder."""

    def __init__(self, serving: Serving) -> None:
        import torch

        from curate.lm.model import load

        if not os.path.isdir(serving.model):
            raise SpecError(f"engine: torch loads folders that 'curate fit' wrote, and {serving.model!r} is none. Use vllm.")
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = load(Path(serving.model)).to(self._device).eval()
        self.encoder = load_encoder(serving.model, None)

    def score(self, queries: Sequence[Query]) -> list[QueryScores]:
        from curate.lm.pair_scoring import score_queries

        return score_queries(self._model, queries, self._device)

    def generate(self, prompts: Sequence[Sequence[int]], max_tokens: int, grammar: str | None) -> list[Completion]:
        raise SpecError("engine: torch reads probabilities and writes no programs. Use 'engine: vllm', or a server.")

    def close(self) -> None:
        del self._model
