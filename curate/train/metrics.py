"""How good a scorer is: AUC, F1, calibration, and where common shares of documents, characters and tokens end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
"""Top shares whose thresholds cards give."""
RESAMPLES = 1000


@dataclass(frozen=True)
class Interval:
    """A value and the middle 95 % of what it is on resampled groups."""

    value: float
    low: float
    high: float
    spread: float
    """Their standard deviation."""

    def as_json(self) -> dict[str, float]:
        return {"value": round(self.value, 4), "low": round(self.low, 4), "high": round(self.high, 4)}


def auc(positive: npt.NDArray[np.bool_], scores: Floats, weights: Floats | None = None) -> float:
    """The chance that a positive scores above a negative, ties counting half. NaN where a class is empty."""
    weights = np.ones(len(scores)) if weights is None else weights
    values, inverse = np.unique(scores, return_inverse=True)
    above = np.bincount(inverse, weights * positive, len(values))
    below = np.bincount(inverse, weights * ~positive, len(values))
    pairs = above.sum() * below.sum()
    return float((above * (np.cumsum(below) - below / 2)).sum() / pairs) if pairs else float("nan")


def spearman(left: Floats, right: Floats, weights: Floats | None = None) -> float:
    """Rank correlation, ties at their mean rank."""
    weights = np.ones(len(left)) if weights is None else weights
    ranks = []
    for values in (left, right):
        _, inverse = np.unique(values, return_inverse=True)
        mass = np.bincount(inverse, weights)
        rank = (np.cumsum(mass) - mass / 2)[inverse]
        ranks.append(rank - np.average(rank, weights=weights))
    x, y = ranks
    scale = np.sqrt((weights * x * x).sum() * (weights * y * y).sum())
    return float((weights * x * y).sum() / scale) if scale else float("nan")


def bootstrap(
    statistic: Callable[..., float], groups: Sequence[str], *columns: Any, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """`statistic(*columns, weights)` and its spread over groups drawn with replacement: rows of a group go together."""
    _, group = np.unique(np.array(groups, np.object_), return_inverse=True)
    draw = np.random.Generator(np.random.PCG64(seed))
    number = int(group.max()) + 1
    found = []
    for _ in range(resamples):
        times = np.bincount(draw.integers(0, number, number), minlength=number)
        found.append(statistic(*columns, times[group].astype(np.float64)))
    low, high = np.nanquantile(found, [0.025, 0.975])
    return Interval(statistic(*columns, np.ones(len(group))), float(low), float(high), float(np.nanstd(found)))


def f1(positive: npt.NDArray[np.bool_], predicted: npt.NDArray[np.bool_]) -> float:
    """F1 of the positive class; 0 without true positives."""
    hits = int((positive & predicted).sum())
    return 2 * hits / (int(positive.sum()) + int(predicted.sum())) if hits else 0.0


def calibration(positive: npt.NDArray[np.bool_], scores: Floats, bins: int = 10) -> list[dict[str, float]]:
    """Per tenth of the range of scores: how many texts, their mean score, and how many of them are positive."""
    place = np.minimum((scores * bins).astype(np.int64), bins - 1)
    rows = []
    for number in range(bins):
        inside = place == number
        if inside.any():
            mean, share = float(scores[inside].mean()), float(positive[inside].mean())
            rows.append(
                {"from": number / bins, "texts": int(inside.sum()), "score": round(mean, 4), "positive": round(share, 4)}
            )
    return rows


def calibration_error(positive: npt.NDArray[np.bool_], scores: Floats) -> float:
    """The expected calibration error: mean distance of score and share of positives over ten bins, by texts."""
    rows = calibration(positive, scores)
    return float(sum(row["texts"] * abs(row["score"] - row["positive"]) for row in rows) / len(scores))


def thresholds(scores: Floats, weights: npt.NDArray[np.int64], shares: Sequence[float] = SHARES) -> dict[str, float]:
    """Share -> the lowest score kept when the best texts with at most that share of the weight are, the best text at least.

    Texts of equal score go together, where `select` draws between them; so do all that score 1.
    """
    order = np.argsort(-scores, kind="stable")
    total = np.cumsum(weights[order])
    kept = np.searchsorted(total, np.array(shares) * total[-1], side="right")
    return {f"{share:g}": float(scores[order[max(0, n - 1)]]) for share, n in zip(shares, kept, strict=True)}


def quantiles(scores: Floats, weights: npt.NDArray[np.int64]) -> dict[str, float]:
    """Quantile -> score, by weight, from the lowest score on."""
    order = np.argsort(scores, kind="stable")
    total = np.cumsum(weights[order])
    points = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
    places = np.searchsorted(total, np.array(points) * total[-1])
    return {f"{point:g}": float(scores[order[min(int(n), len(order) - 1)]]) for point, n in zip(points, places, strict=True)}


def threshold_errors(
    scores: Floats, weights: npt.NDArray[np.int64], groups: Sequence[str], shares: Sequence[float] = SHARES, seed: int = 0
) -> dict[str, float]:
    """Share -> standard error of what its threshold keeps of other text of this kind, from resampled groups.

    A threshold of a few files keeps the wanted share of those files, and of the rest only about as much.
    """
    found = thresholds(scores, weights, shares)

    def kept(above: Any, times: Floats) -> float:
        return float((above * weights * times).sum() / max(1.0, (weights * times).sum()))

    return {
        share: round(bootstrap(kept, groups, scores >= limit, seed=seed, resamples=200).spread, 5)
        for share, limit in found.items()
    }
