"""fastText models as scorers and language identifiers. The only module that imports fasttext.

The package's own `predict` breaks on numpy 2 (it asks for a view where a copy is needed), so the compiled module behind
it is called directly. Probabilities may exceed 1 by rounding and are clamped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.errors import SpecError
from curate.models.card import Card


def load_model(path: str) -> Any:
    """The compiled model behind a .bin or .ftz file. Raises SpecError when fasttext or the model cannot be loaded."""
    try:
        import fasttext
    except ImportError as error:
        raise SpecError("fastText models need the package 'fasttext': pip install 'curate[fasttext]'") from error
    fasttext.FastText.eprint = lambda *args, **kwargs: None
    try:
        return fasttext.load_model(path).f
    except ValueError as error:
        raise SpecError(f"{path!r} is not a fastText model: {error}") from error


def probabilities(model: Any, lines: Sequence[str], top: int) -> list[dict[str, float]]:
    """Per line the `top` most probable labels (-1: all). Lines must not hold line breaks."""
    labels, predicted = model.multilinePredict([f"{line}\n" for line in lines], top, 0.0, "strict")
    return [
        {label: min(1.0, float(p)) for p, label in zip(row, names, strict=True)}
        for row, names in zip(predicted, labels, strict=True)
    ]


class FastTextScorer:
    """A classifier whose label probabilities are the columns of its card."""

    def __init__(self, card: Card, path: str) -> None:
        self._card = card
        self._model = load_model(path)
        known = set(self._model.getLabels("strict")[0])
        for label in card.columns.values():
            if label not in known:
                raise SpecError(f"{path!r} has no label {label!r}. Known: {', '.join(sorted(known))}.")

    @property
    def columns(self) -> Sequence[str]:
        return list(self._card.columns)

    def __call__(self, texts: Sequence[str | None]) -> dict[str, npt.NDArray[np.float32]]:
        lines = [" ".join(self._card.apply(text or "").splitlines()) for text in texts]
        scored = probabilities(self._model, lines, -1)
        return {
            column: np.array(
                [np.nan if text is None else row.get(label, 0.0) for text, row in zip(texts, scored, strict=True)], np.float32
            )
            for column, label in self._card.columns.items()
        }
