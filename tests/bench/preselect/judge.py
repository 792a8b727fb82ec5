"""`python tests/bench/preselect/judge.py`: scorers held against the judgements of people and of a large model.

- `evals/quality_human_dclm`: web documents that people called good or bad for pretraining; AUC.
- `evals/edu_scores_llm`: FineWeb documents with educational scores from 0 to 5 by Llama-3.3-70B; Spearman's rank correlation.

Held against them: the PreSelect scorer, a plain classifier of encyclopedic and question-answer text against crawl, the mean
log-probability of words under counts of the text that the language models learnt from, and length alone. Intervals are the
middle 95 % of 1,000 resamples of the documents.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

import numpy as np
import numpy.typing as npt
import pyarrow as pa

import curate
from curate.train import metrics
from curate.train.documents import load_corpus
from curate.train.recipe import load_recipe

ROOT = Path(__file__).parents[3]
EVALS = ROOT.parent / "shared" / "data" / "evals"
OUT = ROOT / "out" / "preselect"
Score = Callable[[Sequence[str]], npt.NDArray[np.float64]]


def rows_of(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def scorer(folder: Path) -> Score:
    load = curate.load_scorer(str(folder))
    return lambda texts: next(iter(load(texts).values())).astype(np.float64)


def unigrams() -> Score:
    """Counts of the words of the text that the language models learnt from."""
    table = OUT / "unigrams.tsv"
    if not table.exists():
        recipe = load_recipe(str(ROOT / "scorers" / "recipes" / "mini-lms-v1.yaml"))
        counts: Counter[str] = Counter()
        for text in load_corpus(recipe.documents["documents"], ["group"]).texts.to_pylist():
            counts.update(text.lower().split())
        rows = [(word, count) for word, count in counts.most_common() if count > 2 and "\t" not in word]
        table.write_text("".join(f"{word}\t{count}\n" for word, count in rows), encoding="utf-8")

    def score(texts: Sequence[str]) -> npt.NDArray[np.float64]:
        given = pa.table({"text": pa.array(texts, pa.large_string())})
        found = curate.apply("unigram_logprob", given, unigrams=str(table))["unigram_logprob"]
        return np.asarray(found.to_numpy(), np.float64)

    return score


def disjoint() -> str:
    """What the models learnt from and what they judge: documents and groups of each, and groups in both."""
    models = load_recipe(str(ROOT / "scorers" / "recipes" / "mini-lms-v1.yaml")).documents["documents"]
    seeds = load_recipe(str(ROOT / "scorers" / "preselect-mini-v1" / "recipe.yaml")).documents["seeds"]
    learnt, judged = (load_corpus(items, ["group"]) for items in (models, seeds))
    shared = set(learnt.groups) & set(judged.groups)
    return (
        f"models learnt from {len(learnt):,} documents of {len(set(learnt.groups)):,} groups, seeds are of {len(judged):,} "
        f"of {len(set(judged.groups)):,}; groups in both: {len(shared)}"
    )


def main() -> None:
    print(disjoint())
    scorers: dict[str, Score] = {
        "preselect-mini-v1": scorer(ROOT / "scorers" / "preselect-mini-v1"),
        "encyclopedic-mini-v1": scorer(OUT / "encyclopedic-mini-v1"),
        "unigram log-probability": unigrams(),
        "length in characters": lambda texts: np.array([len(text) for text in texts], np.float64),
    }
    human = {name: rows_of(EVALS / "quality_human_dclm" / f"{name}.jsonl.gz") for name in ("majority", "agreement")}
    edu = rows_of(EVALS / "edu_scores_llm" / "llama33_70b.jsonl.gz")
    print(f"people's majority: {len(human['majority'])}, where they agree: {len(human['agreement'])}, educational: {len(edu)}")
    print(f"  {'':24} {'AUC, majority':>22} {'AUC, agreement':>22} {'Spearman, educational':>22}")
    for name, score in scorers.items():
        cells = [auc(score, rows) for rows in human.values()]
        cells.append(
            interval(metrics.spearman, score([row["text"] for row in edu]), np.array([row["score"] for row in edu], float))
        )
        print(f"  {name:24} " + " ".join(f"{cell:>22}" for cell in cells))


def auc(score: Score, rows: list[dict[str, Any]]) -> str:
    return interval(
        lambda scores, truth, weights: metrics.auc(truth > 0, scores, weights),
        score([row["text"] for row in rows]),
        np.array([row["label"] for row in rows], float),
    )


def interval(statistic: Any, scores: npt.NDArray[np.float64], truth: npt.NDArray[np.float64]) -> str:
    found = metrics.bootstrap(statistic, [str(n) for n in range(len(scores))], np.nan_to_num(scores, nan=0.5), truth)
    return f"{found.value:.3f} ({found.low:.2f}..{found.high:.2f})"


if __name__ == "__main__":
    main()
