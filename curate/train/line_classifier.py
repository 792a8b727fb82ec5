"""A linear classifier of lines by hashed words, of the line and of those around it: what a refiner is held against, and learns
from.

Words and pairs of words of a line, its length, its indentation, first and last sign, its place in the page; the same of three
lines before and after it. Logistic regression by Adagrad, two passes over the pages that the refiner learns from.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from curate.errors import DataError
from curate.train.documents import hashes

BUCKETS = 2**20
NEAR, FAR = 2, 3
Lines = Sequence[str]
Mask = npt.NDArray[np.bool_]


def _own(line: str) -> list[str]:
    words, stripped = [word.lower() for word in line.split()][:60], line.strip()
    return [
        f"n{min(20, len(words))}", f"c{int(1.5 * math.log2(len(line) + 1))}", f"i{min(12, len(line) - len(line.lstrip()))}",
        f"<{stripped[:1]}", f">{stripped[-1:]}", f"u{stripped[:1].isupper()}", *(f"w{word}" for word in words),
        *(f"b{one} {other}" for one, other in pairwise(words)), *([f"l{' '.join(words)}"] if len(words) < 8 else []),
    ]  # fmt: skip


def features(lines: Lines) -> list[npt.NDArray[np.int64]]:
    """Of every line that is not blank."""
    kept = [number for number, line in enumerate(lines) if line.strip()]
    own = [_own(lines[number]) for number in kept]
    found = []
    for place, number in enumerate(kept):
        names = [*own[place], f"p{20 * place // len(kept)}", f"s{min(place, 30)}", f"e{min(len(kept) - place, 30)}"]
        names.append(f"g{number - kept[place - 1] if place else 0}")
        for step in (*range(-FAR, 0), *range(1, FAR + 1)):
            other = place + step
            inside = 0 <= other < len(kept)
            names += [f"{step}|{name}" for name in (own[other][: 26 if abs(step) <= NEAR else 6] if inside else ["none"])]
        found.append(np.array([zlib.crc32(name.encode()) % BUCKETS for name in names], np.int64))
    return found


class LinearLines:
    """Trained on pages: their lines, and whether each stays."""

    def __init__(self, pages: Sequence[tuple[Lines, Mask]], passes: int = 2) -> None:
        rows = [row for lines, _ in pages for row in features(lines)]
        labels = np.concatenate([keep[[bool(line.strip()) for line in lines]] for lines, keep in pages]).astype(np.float32)
        self._weights = torch.nn.EmbeddingBag(BUCKETS, 1, mode="sum")
        torch.nn.init.zeros_(self._weights.weight)
        optimizer = torch.optim.Adagrad(self._weights.parameters(), lr=0.05)
        draw = np.random.Generator(np.random.PCG64(0))
        for _ in range(passes):
            for some in np.array_split(draw.permutation(len(rows)), max(1, len(rows) // 512)):
                loss = torch.nn.functional.binary_cross_entropy_with_logits(
                    self._logits([rows[row] for row in some]), torch.from_numpy(labels[some])
                )
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()

    def _logits(self, rows: Sequence[npt.NDArray[np.int64]]) -> torch.Tensor:
        offsets = torch.from_numpy(np.cumsum([0, *(len(row) for row in rows[:-1])]))
        logits: torch.Tensor = self._weights(torch.from_numpy(np.concatenate(rows)), offsets)[:, 0]
        return logits

    def probabilities(self, lines: Lines) -> npt.NDArray[np.float64]:
        """That a line stays; of blank lines 0."""
        found = np.zeros(len(lines))
        rows = features(lines)
        if rows:
            with torch.inference_mode():
                found[[bool(line.strip()) for line in lines]] = torch.sigmoid(self._logits(rows)).numpy()
        return found


def unseen_probabilities(pages: Sequence[tuple[Lines, Mask]], groups: Sequence[str], folds: int = 5) -> npt.NDArray[np.float64]:
    """That lines stay, of all pages, one after another; each page by a classifier that has learnt from other groups only."""
    fold = hashes(groups, "fold") % folds
    found: list[npt.NDArray[np.float64]] = [np.zeros(0)] * len(pages)
    for number in np.unique(fold).tolist():
        others = [page for page, own in zip(pages, fold, strict=True) if own != number]
        if not others:
            raise DataError(f"{len(set(groups))} groups of documents are too few to learn from some and ask about others.")
        model = LinearLines(others)
        for row in np.flatnonzero(fold == number).tolist():
            found[row] = model.probabilities(pages[row][0])
    return np.concatenate(found)
