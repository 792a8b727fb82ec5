"""Validation of refiners: probabilities of lines as they are served, and the threshold of the best word F1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from curate.prox import line_prompt
from curate.prox.align import line_f1, word_f1
from curate.prox.line_prompt import combined, overlapping_prompts
from curate.train.documents import Corpus
from curate.train.training_pages import TrainingPage

if TYPE_CHECKING:
    from curate.lm.model import CausalLM

THRESHOLDS = tuple(round(0.05 * number, 2) for number in range(2, 15))


def keep_probabilities(model: CausalLM, page: TrainingPage, window: int, device: str) -> npt.NDArray[np.float32]:
    """The probability that each line is kept, from overlapping windows, as in serving. Shape (lines,)."""
    from curate.lm.pair_scoring import score_queries
    from curate.lm.query import Query

    prompts, pair = overlapping_prompts(page.shown, window), (line_prompt.KEEP_ID, line_prompt.REMOVE_ID)
    queries = [Query(prompt.ids, prompt.positions, pair) for prompt in prompts]
    return combined(prompts, [scores.positions for scores in score_queries(model, queries, device)], len(page.lines))


def refiner_metrics(
    pages: Sequence[TrainingPage], probabilities: Sequence[npt.NDArray[np.float32]], losses: Sequence[float], training: Corpus,
    validation: Corpus, type_columns: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """Metrics of the validation pages by threshold: means over documents, or over document types where columns define them.

    The selected threshold is the one of the best word F1. Most lines are short and removed, but most words are in long lines
    that are kept, and words are what remains of a text.
    """
    types = ["\0".join(str(validation.columns[name][row]) for name in type_columns) for row in range(len(validation))]
    counts = Counter(types)
    weights = np.array([1 / counts[name] if type_columns else 1.0 for name in types])
    table = {str(threshold): _metrics_at(pages, probabilities, threshold, weights) for threshold in THRESHOLDS}
    best = max(THRESHOLDS, key=lambda threshold: table[str(threshold)]["word_f1"])
    return {
        "threshold": best,
        "thresholds": table,
        "training_loss": round(float(np.mean(losses[-100:])), 4),
        "documents": {"training": len(training), "validation": len(validation)},
        "groups": {"training": len(set(training.groups)), "validation": len(set(validation.groups))},
    }


def _metrics_at(
    pages: Sequence[TrainingPage], probabilities: Sequence[npt.NDArray[np.float32]], threshold: float,
    weights: npt.NDArray[np.float64],
) -> Mapping[str, float]:  # fmt: skip
    """Weighted means over pages of line F1, word F1 and the share of content lines that are lost."""
    rows = []
    for page, probability in zip(pages, probabilities, strict=True):
        has_words = page.words > 0
        remove = probability < threshold
        kept = [line for line, gone in zip(page.lines, remove, strict=True) if not gone]
        content = [line for line, gone in zip(page.lines, page.remove, strict=True) if not gone]
        content_lines = has_words & ~page.remove
        rows.append((
            line_f1(remove & has_words, page.remove & has_words),
            word_f1("\n".join(kept), "\n".join(content)),
            float((remove & content_lines).sum() / max(1, content_lines.sum())),
        ))  # fmt: skip
    names = ("line_f1", "word_f1", "good_lines_lost")
    return {name: round(float(value), 4) for name, value in zip(names, np.average(rows, axis=0, weights=weights), strict=True)}
