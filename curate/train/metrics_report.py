"""The content of a scorer's `metrics.json`, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.errors import DataError
from curate.text.unicode.buffers import text_buffers
from curate.text.words.fasttext import cut_tokens
from curate.train import metrics
from curate.train.documents import Corpus
from curate.train.vocabulary import Word

Floats = npt.NDArray[np.float64]
INFLUENTIAL = 40
"""How many words of each side are listed."""


def judge(groups: Sequence[str], positive: npt.NDArray[np.bool_], scores: Floats) -> dict[str, Any]:
    """AUC with its interval over groups, F1 at one half, calibration."""
    scores = np.nan_to_num(scores, nan=0.5)  # a text of which no word is known says nothing either way
    return {
        "groups": len(set(groups)),
        "auc": metrics.bootstrap(metrics.auc, groups, positive, scores).as_json(),
        "f1": round(metrics.f1(positive, scores >= 0.5), 4),
        "calibration_error": round(metrics.calibration_error(positive, scores), 4),
        "calibration": metrics.calibration(positive, scores),
    }


def agreement(groups: Sequence[str], scores: Floats, wanted: Floats) -> dict[str, float]:
    """Spearman's rank correlation of scores with numbers given, with its interval over groups."""
    return metrics.bootstrap(metrics.spearman, groups, np.nan_to_num(scores, nan=0.5), wanted).as_json()


def spread(corpus: Corpus, scores: Floats) -> dict[str, Any]:
    """Thresholds of common shares, and quantiles, by documents, characters and tokens (runs without white space).

    Of the texts that have a score, as `select` takes its share. Raises DataError when none has.
    """
    scored = np.flatnonzero(~np.isnan(scores))
    if not len(scored):
        raise DataError(f"none of {len(corpus):,} texts holds a word that the scorer knows, so there is no threshold to give.")
    corpus, scores = corpus.take(scored), scores[scored]
    tokens = cut_tokens(text_buffers(corpus.texts), np.zeros(len(corpus), np.bool_)).counts
    weights = {"docs": np.ones(len(corpus), np.int64), "chars": corpus.chars, "tokens": tokens}
    served = np.minimum(1.0, scores + 1e-5).astype(np.float32).astype(np.float64)  # as `score` gives them
    return {
        "thresholds": {by: metrics.thresholds(served, weight) for by, weight in weights.items()},
        "thresholds_of": f"{len(corpus):,} texts of groups it has not seen",
        "threshold_errors": {by: metrics.threshold_errors(served, weight, corpus.groups) for by, weight in weights.items()},
        "quantiles": {by: metrics.quantiles(served, weight) for by, weight in weights.items()},
    }


def influential(words: Sequence[Word], weights: npt.NDArray[np.float32]) -> dict[str, list[dict[str, Any]]]:
    """The words that add most to either side. PreSelect's influence (arXiv:2503.00808, A.3): in . (out_1 - out_0)."""
    order = np.argsort(weights[: len(words), 0], kind="stable")
    sides = {"positive": order[::-1][:INFLUENTIAL], "negative": order[:INFLUENTIAL]}
    return {side: [_row(words[place], float(weights[place, 0])) for place in places] for side, places in sides.items()}


def _row(word: Word, weight: float) -> dict[str, Any]:
    return {"word": word.text.decode("utf-8", "replace"), "weight": round(weight, 4), "documents": word.documents}
