"""A linear classifier of lines on hashed features: a baseline for refiners, and a teacher of theirs.

The features of a line are its words, word bigrams, length, indentation, first and last character and position in the page, and
the same for three lines before and after it. Logistic regression by Adagrad, two epochs over the refiner's training pages.
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
    """Hashed features of every line that is not blank, shape (features,) each."""
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
    """The classifier, trained on pages: lines, and masks that are True where a line is kept."""

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
        """The probability that each line is kept, shape (lines,); 0 for blank lines."""
        found = np.zeros(len(lines))
        rows = features(lines)
        if rows:
            with torch.inference_mode():
                found[[bool(line.strip()) for line in lines]] = torch.sigmoid(self._logits(rows)).numpy()
        return found


def unseen_probabilities(pages: Sequence[tuple[Lines, Mask]], groups: Sequence[str], folds: int = 5) -> npt.NDArray[np.float64]:
    """Out-of-fold probabilities that lines are kept, page after page. Shape (lines of all pages,).

    Each page is scored by a classifier trained on other groups only. Raises DataError where there are too few groups.
    """
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
