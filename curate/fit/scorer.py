"""From labelled texts to a scorer: split by group, balance, choose words, train, measure, write.

Groups fall into training, validation and test by a hash, so that a document never moves when others come or go. What is
chosen (hyper-parameters, by `autotune`) is chosen on the validation groups; every number in a card is of the test groups.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from annotated_types import Ge, Gt, Lt

from curate.errors import DataError
from curate.fit import metrics
from curate.fit.card import About, Artefact, check_card, write_artefact
from curate.fit.documents import Corpus, Documents, hashes
from curate.fit.recipe import Recipe
from curate.fit.softmax import Examples, Floats, Hyperparameters, predict, train
from curate.fit.vocabulary import VocabularyRule, Word, choose_words
from curate.models.card import check_transform, prepare
from curate.models.fasttext_file import Arguments, write_model
from curate.runner import Listener
from curate.text.buffers import TextBuffers, text_buffers
from curate.text.fasttext import EOS, Features, Tokens, Vocabulary, cut_tokens, feature_rows

NEGATIVE, POSITIVE = "__label__0", "__label__1"
INFLUENTIAL = 40
"""How many words of each side `metrics.json` lists."""


@dataclass(frozen=True, kw_only=True)
class ScorerOptions:
    """What recipes of scorers have in common."""

    column: str
    """The column that the scorer writes: the probability of the positive label."""
    transform: tuple[str, ...]
    """What is done to a text before it is cut into tokens, in training and in serving."""
    end_of_line: Literal["drop", "zero", "keep"] = "drop"
    """fastText's `</s>`: left out; learnt and then set to zero (PreSelect's fix, arXiv:2503.00808, A.2); learnt and kept."""
    group: tuple[str, ...] = ("host",)
    """Columns that make a group, joined; `host` is that of the URL. What lacks one is a group of its own."""
    validation: Annotated[float, Ge(0), Lt(1)] = 0.1
    test: Annotated[float, Gt(0), Lt(1)] = 0.2
    """Shares of the groups."""
    balance: bool = True
    """Learn from as many texts of one label as of the other, drawn by a hash."""
    hyperparameters: Hyperparameters = field(default_factory=Hyperparameters)
    autotune_s: Annotated[float, Ge(0)] = 0
    """Look for better hyper-parameters for so many seconds; the trial that is running then is finished."""
    vocabulary: VocabularyRule = field(default_factory=VocabularyRule)
    seed: Annotated[int, Ge(0)] = 0
    threads: Annotated[int, Ge(1)] = 1
    """With one, the same recipe on the same documents gives the same bytes."""
    intended_use: str = ""
    biases: str = ""

    def __post_init__(self) -> None:
        check_transform(self.transform)
        if self.validation + self.test >= 1:
            raise ValueError(f"validation ({self.validation}) and test ({self.test}) leave nothing to learn from")
        if self.autotune_s and not self.validation:
            raise ValueError("autotune_s: hyper-parameters are chosen on validation groups. Set 'validation' above 0.")


@dataclass(frozen=True)
class Labelled:
    """Texts and whether each is positive."""

    corpus: Corpus
    positive: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.corpus)

    def take(self, rows: npt.NDArray[Any]) -> Labelled:
        return Labelled(self.corpus.take(rows), self.positive[rows])


@dataclass(frozen=True)
class Splits:
    """No group is in two of them."""

    training: Labelled
    validation: Labelled
    test: Labelled


def split_by_group(labelled: Labelled, options: ScorerOptions) -> Splits:
    """By a hash of each group. Raises DataError when training or test lack a label."""
    shares = _shares(labelled.corpus, options)
    test, validation = shares < options.test, (options.test <= shares) & (shares < options.test + options.validation)
    parts = [labelled.take(np.flatnonzero(rows)) for rows in (~test & ~validation, validation, test)]
    for name, part in zip(("training", "validation", "test"), parts, strict=True):
        found = [int((~part.positive).sum()), int(part.positive.sum())]
        if min(found) == 0 and (name != "validation" or options.autotune_s):
            raise DataError(
                f"{name} has {found[1]} positives and {found[0]} negatives, in {len(set(part.corpus.groups))} groups. "
                "Give more groups (see 'group'), or a larger share of them."
            )
    return Splits(*parts)


def _shares(corpus: Corpus, options: ScorerOptions) -> npt.NDArray[np.float64]:
    """Where the group of every text falls between 0 and 1: test groups first, then validation."""
    return hashes(corpus.groups, f"split {options.seed}") / 2**64


def balanced(labelled: Labelled, seed: int) -> Labelled:
    """As many texts of one label as of the other: those whose ids have the smallest hashes stay."""
    ranks = np.argsort(hashes(labelled.corpus.ids, f"balance {seed}"), kind="stable")
    sides = [ranks[labelled.positive[ranks] == side] for side in (False, True)]
    number = min(len(side) for side in sides)
    return labelled.take(np.sort(np.concatenate([side[:number] for side in sides])))


class _Model:
    """Vocabulary and features of the training texts, and the weights that were learnt."""

    def __init__(self, training: Labelled, options: ScorerOptions) -> None:
        self._options = options
        texts, tokens = self._tokens(training.corpus)
        self.words = choose_words(texts, tokens, training.corpus.groups, options.vocabulary)
        if not self.words:
            raise DataError("no word passes the vocabulary rule. Give more texts, or lower 'vocabulary: {min_documents: 20}'.")
        if options.end_of_line != "drop":
            self.words.append(Word(EOS.encode(), len(training), len(training), len(set(training.corpus.groups))))
        self._vocabulary = Vocabulary.of(text_buffers(pa.array([word.text.decode() for word in self.words])))

    def _tokens(self, corpus: Corpus) -> tuple[TextBuffers, Tokens]:
        texts = text_buffers(prepare(corpus.texts, self._options.transform))
        return texts, cut_tokens(texts, np.zeros(len(corpus), np.bool_))

    def examples(self, labelled: Labelled, chosen: Hyperparameters) -> Examples:
        ends = self._options.end_of_line != "drop"
        features = Features(self._vocabulary, chosen.word_ngrams, chosen.bucket, ends)
        return Examples(*feature_rows(self._tokens(labelled.corpus)[1], features), labelled.positive.astype(np.int32))

    def train(self, examples: Examples, chosen: Hyperparameters) -> Floats:
        rows = len(self.words) + (chosen.bucket if chosen.word_ngrams > 1 else 0)
        options = self._options
        weights = train(examples, rows, 2, chosen, seed=options.seed, threads=options.threads)
        if options.end_of_line == "zero":
            weights[len(self.words) - 1] = 0
        return weights

    def write(self, path: Path, weights: Floats, chosen: Hyperparameters, training: Labelled) -> None:
        arguments = Arguments(
            dim=weights.shape[1],
            epoch=chosen.epochs,
            word_ngrams=chosen.word_ngrams,
            bucket=chosen.bucket if chosen.word_ngrams > 1 else 0,
        )
        positives = int(training.positive.sum())
        labels = [(NEGATIVE, len(training) - positives), (POSITIVE, positives)]
        output = np.eye(2, dtype=np.float32)[:, 1:]
        write_model(str(path), arguments, [(word.text, word.count) for word in self.words], labels, weights, output)


def fit_scorer(
    recipe: Recipe,
    labelled: Labelled,
    options: ScorerOptions,
    *,
    method: str,
    sources: Mapping[str, tuple[Documents, ...]],
    pool: Corpus | None,
    folder: Path,
    listener: Listener,
    extra: Mapping[str, Any] | None = None,
    judged: tuple[Corpus, npt.NDArray[np.float64]] | None = None,
) -> dict[str, Any]:
    """Train on labelled texts and write the scorer's folder; its metrics. Raises DataError when there is too little.

    `judged` are texts with a number each, which scores on those of the test groups are held against.
    """
    splits = split_by_group(labelled, options)
    training = balanced(splits.training, options.seed) if options.balance else splits.training
    listener.note(
        f"{len(training):,} texts to learn from, {len(splits.validation):,} to choose by, {len(splits.test):,} to judge"
    )
    model = _Model(training, options)
    chosen, trials = options.hyperparameters, list[dict[str, Any]]()
    if options.autotune_s:
        chosen, trials = _autotune(model, training, splits.validation, options, listener)
    weights = model.train(model.examples(training, chosen), chosen)
    check_card(folder, ids_digest=training.corpus.digest())
    folder.mkdir(parents=True, exist_ok=True)
    model.write(folder / "model.bin", weights, chosen, training)

    def score(corpus: Corpus) -> npt.NDArray[np.float64]:
        texts = Labelled(corpus, np.zeros(len(corpus), np.bool_))
        return predict(model.examples(texts, chosen), weights)[:, 1]

    found = {
        "texts": {
            "training": len(training),
            "validation": len(splits.validation),
            "test": len(splits.test),
            "left_out": labelled.corpus.left_out,
        },
        "positives": {"training": int(training.positive.sum()), "test": int(splits.test.positive.sum())},
        **judge(splits.test, score(splits.test.corpus)),
        **_spread(pool or splits.test.corpus, score(pool or splits.test.corpus)),
        "thresholds_of": f"{len(pool):,} texts of the pool" if pool else "the test texts",
        "words": len(model.words),
        "vocabulary_rule": _in_words(options.vocabulary),
        "hyperparameters": asdict(chosen),
        "trials": trials,
        "influential_words": _influential(model.words, weights),
        **(extra or {}),
    }
    if judged:
        rows = np.flatnonzero(_shares(judged[0], options) < options.test)
        corpus, scores = judged[0].take(rows), np.nan_to_num(score(judged[0].take(rows)), nan=0.5)
        found["spearman"] = metrics.bootstrap(metrics.spearman, corpus.groups, scores, judged[1][rows]).as_json()
    about = About(options.intended_use, options.biases)
    end_of_line = "drop" if options.end_of_line == "drop" else "keep"
    artefact = Artefact(
        recipe.name, options.column, POSITIVE, options.transform, end_of_line, about, sources, training.corpus, found, method
    )
    write_artefact(artefact, folder, recipe)
    return found


def judge(test: Labelled, scores: npt.NDArray[np.float64]) -> dict[str, Any]:
    """AUC with its interval over groups, F1 at one half, calibration."""
    positive = test.positive
    scores = np.nan_to_num(scores, nan=0.5)  # a text of which no word is known says nothing either way
    return {
        "groups": len(set(test.corpus.groups)),
        "auc": metrics.bootstrap(metrics.auc, test.corpus.groups, positive, scores).as_json(),
        "f1": round(metrics.f1(positive, scores >= 0.5), 4),
        "calibration_error": round(metrics.calibration_error(positive, scores), 4),
        "calibration": metrics.calibration(positive, scores),
    }


def _spread(corpus: Corpus, scores: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Thresholds of common shares, and quantiles, by documents, characters and tokens (runs without white space).

    Of the texts that have a score, as `select` takes its share.
    """
    corpus, scores = corpus.take(np.flatnonzero(~np.isnan(scores))), scores[~np.isnan(scores)]
    tokens = cut_tokens(text_buffers(corpus.texts), np.zeros(len(corpus), np.bool_)).counts
    weights = {"docs": np.ones(len(corpus), np.int64), "chars": corpus.chars, "tokens": tokens}
    served = np.minimum(1.0, scores + 1e-5).astype(np.float32).astype(np.float64)  # as `score` gives them
    return {
        "thresholds": {by: metrics.thresholds(served, weight) for by, weight in weights.items()},
        "threshold_errors": {by: metrics.threshold_errors(served, weight, corpus.groups) for by, weight in weights.items()},
        "quantiles": {by: metrics.quantiles(served, weight) for by, weight in weights.items()},
    }


def _autotune(
    model: _Model, training: Labelled, validation: Labelled, options: ScorerOptions, listener: Listener
) -> tuple[Hyperparameters, list[dict[str, Any]]]:
    """The hyper-parameters of the best AUC on validation texts, and every trial. The recipe's own are the first."""
    draw = np.random.Generator(np.random.PCG64(options.seed))
    until = time.monotonic() + options.autotune_s
    trials: list[dict[str, Any]] = []
    best, chosen = (-math.inf, options.hyperparameters), options.hyperparameters
    while True:
        weights = model.train(model.examples(training, chosen), chosen)
        scores = np.nan_to_num(predict(model.examples(validation, chosen), weights)[:, 1], nan=0.5)
        found = metrics.auc(validation.positive, scores)
        trials.append({**asdict(chosen), "auc": round(found, 4)})
        listener.note(f"trial {len(trials)}: AUC {found:.4f} with {asdict(chosen)}")
        if found > best[0]:
            best = (found, chosen)
        if time.monotonic() >= until:
            return best[1], trials
        chosen = replace(
            options.hyperparameters,
            lr=round(10 ** draw.uniform(-2, 0.3), 4),
            epochs=round(10 ** draw.uniform(0, 1.5)),
            word_ngrams=int(draw.integers(1, 4)),
            dim=int(draw.choice([10, 30, 100])),
        )


def _influential(words: list[Word], weights: Floats) -> dict[str, list[dict[str, Any]]]:
    """The words that add most to either side. PreSelect's influence (arXiv:2503.00808, A.3): in . (out_1 - out_0)."""
    order = np.argsort(weights[: len(words), 0], kind="stable")

    def rows(places: npt.NDArray[Any]) -> list[dict[str, Any]]:
        return [
            {
                "word": words[place].text.decode("utf-8", "replace"),
                "weight": round(float(weights[place, 0]), 4),
                "documents": words[place].documents,
            }
            for place in places.tolist()
        ]

    return {"positive": rows(order[::-1][:INFLUENTIAL]), "negative": rows(order[:INFLUENTIAL])}


def _in_words(rule: VocabularyRule) -> str:
    held = "" if rule.personal else ", none with '@' or two digits in a row"
    return f"each in at least {rule.min_documents} texts of {rule.min_groups} groups{held}"
