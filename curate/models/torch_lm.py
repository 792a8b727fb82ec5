"""Language models in torch, in this process."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from curate.errors import SpecError
from curate.models.lm_types import (
    Ask,
    Decided,
    Serving,
    Written,
    load_encoder,
)


class TorchLineClassifier:
    """A model of our own, in float32."""

    def __init__(self, serving: Serving) -> None:
        import torch

        from curate.lm.model import load

        if not os.path.isdir(serving.model):
            raise SpecError(f"engine: torch loads folders that 'curate fit' wrote, and {serving.model!r} is none. Use vllm.")
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = load(Path(serving.model)).to(self._device).eval()
        self.encoder = load_encoder(serving.model, None)

    def decide(self, asks: Sequence[Ask]) -> list[Decided]:
        from curate.lm.pair_scoring import pair_probabilities

        return [
            Decided(places, *end)
            for places, end in pair_probabilities(
                self._model, [(a.ids, a.places, a.pair, sorted(a.yes), sorted(a.no)) for a in asks], self._device
            )
        ]

    def write(self, prompts: Sequence[Sequence[int]], max_tokens: int, grammar: str | None) -> list[Written]:
        raise SpecError("engine: torch reads probabilities and writes no programs. Use 'engine: vllm', or a server.")

    def close(self) -> None:
        del self._model
