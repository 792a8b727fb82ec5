"""From labelled texts to a scorer: split by group, balance, choose words, train, measure, write.

Groups fall into training, validation and test by a hash, so that a document never moves when others come or go. What is
chosen (hyper-parameters, by `autotune_s`) is chosen on the validation groups; every number in a card is of groups that were not
learnt from.
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

from curate.errors import DataError, RunError
from curate.events import Listener
from curate.models.card import check_column, check_transform, prepare
from curate.models.fasttext_file import Arguments, write_model
from curate.text.unicode.buffers import TextBuffers, text_buffers
from curate.text.words.fasttext import EOS, Features, Tokens, Vocabulary, cut_tokens, feature_rows
from curate.train import metrics, metrics_report
from curate.train.documents import Corpus, Documents, hashes
from curate.train.recipe import Recipe
from curate.train.softmax import Examples, Floats, Hyperparameters, predict, train
from curate.train.vocabulary import VocabularyRule, Word, choose_words
from curate.train.write_card import About, Artefact, check_card, write_artefact

NEGATIVE, POSITIVE = "__label__0", "__label__1"


@dataclass(frozen=True, kw_only=True)
class ScorerOptions:
    """Options that all recipes of scorers share."""

    column: str
    """The column that the scorer writes: the probability of the positive label."""
    transform: tuple[str, ...]
    """The transforms of a text before tokenization, in training and in serving."""
    end_of_line: Literal["drop", "zero", "keep"] = "drop"
    """fastText's `</s>`: left out; learnt and then set to zero (PreSelect's fix, arXiv:2503.00808, A.2); learnt and kept."""
    group: tuple[str, ...] = ("host",)
    """Columns that make a group, joined; `host` is that of the URL. What lacks one is a group of its own."""
    test: Annotated[float, Gt(0), Lt(1)] = 0.2
    """Share of the groups in the test split."""
    validation: Annotated[float, Ge(0), Lt(1)] = 0.0
    """Share of the groups in the validation split, on which hyper-parameters are selected."""
    balance: bool = True
    """Learn from as many texts of one label as of the other, drawn by a hash."""
    hyperparameters: Hyperparameters = field(default_factory=Hyperparameters)
    autotune_s: Annotated[float, Ge(0)] = 0.0
    """Look for better hyper-parameters for so many seconds; the trial that is running then is finished. How many trials that
    makes differs from run to run, and so may the model: write the best ones into `hyperparameters` to have it again."""
    vocabulary: VocabularyRule = field(default_factory=VocabularyRule)
    seed: Annotated[int, Ge(0)] = 0
    threads: Annotated[int, Ge(1)] = 1
    """With one, and without `autotune_s`, the same recipe on the same documents gives the same bytes."""
    intended_use: str = ""
    biases: str = ""

    def __post_init__(self) -> None:
        check_transform(self.transform)
        check_column(self.column)
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
    """Split by a hash of each group. Raises DataError when training or test lack a label."""
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


class Model:
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


@dataclass(frozen=True)
class Task:
    """The training data of a scorer, and the facts for its card."""

    labelled: Labelled
    method: str
    """How labels came about, for the card."""
    sources: Mapping[str, tuple[Documents, ...]]
    pool: Corpus | None = None
    """Texts of the kind that the scorer will choose from."""
    judged: tuple[Corpus, npt.NDArray[np.float64]] | None = None
    """Texts with a number each, which scores on those of the test groups are held against."""
    account: Mapping[str, Any] = field(default_factory=dict)
    """More for `metrics.json`."""


def fit_scorer(recipe: Recipe, options: ScorerOptions, task: Task, folder: Path, listener: Listener) -> dict[str, Any]:
    """Train and write the scorer's folder; its metrics.

    Raises DataError when there is too little, DriftError when the folder has a scorer of other documents.
    """
    splits = split_by_group(task.labelled, options)
    training = balanced(splits.training, options.seed) if options.balance else splits.training
    check_card(folder, ids_digest=training.corpus.digest())
    listener.note(f"{len(training):,} texts to learn from, {len(splits.test):,} to judge by")
    model = Model(training, options)
    chosen, trials = options.hyperparameters, list[dict[str, Any]]()
    if options.autotune_s:
        chosen, trials = _autotune(model, training, splits.validation, options, listener)
    weights = model.train(model.examples(training, chosen), chosen)

    def score(corpus: Corpus) -> npt.NDArray[np.float64]:
        texts = Labelled(corpus, np.zeros(len(corpus), np.bool_))
        return predict(model.examples(texts, chosen), weights)[:, 1]

    unseen = _unseen(task, splits, training, options)
    found = {
        "texts": {name: len(part) for name, part in vars(splits).items()} | {"training": len(training)},
        "left_out": task.labelled.corpus.left_out,
        "positives": {"training": int(training.positive.sum()), "test": int(splits.test.positive.sum())},
        **metrics_report.judge(splits.test.corpus.groups, splits.test.positive, score(splits.test.corpus)),
        **metrics_report.spread(unseen, score(unseen)),
        "words": len(model.words),
        "vocabulary_rule": options.vocabulary.in_words(),
        "hyperparameters": asdict(chosen),
        "trials": trials,
        "influential_words": metrics_report.influential(model.words, weights),
        **task.account,
    }
    if task.judged:
        rows = np.flatnonzero(_shares(task.judged[0], options) < options.test)
        held = task.judged[0].take(rows)
        found["spearman"] = metrics_report.agreement(held.groups, score(held), task.judged[1][rows])
    folder.mkdir(parents=True, exist_ok=True)
    model.write(folder / "model.bin.tmp", weights, chosen, training)
    about = About(options.intended_use, options.biases)
    end_of_line = "drop" if options.end_of_line == "drop" else "keep"
    artefact = Artefact(
        options.column, POSITIVE, options.transform, end_of_line, about, task.sources, training.corpus, found, task.method
    )
    write_artefact(artefact, folder, recipe)
    return found


def _unseen(task: Task, splits: Splits, training: Labelled, options: ScorerOptions) -> Corpus:
    """The texts that thresholds are of: a pool without the groups learnt from, or test texts of whatever there is."""
    if task.pool:
        learnt = set(training.corpus.groups)
        rows = [row for row, group in enumerate(task.pool.groups) if group not in learnt]
        if not rows:
            raise DataError("every group of the pool is learnt from too, so it gives no threshold. Give other documents.")
        return task.pool.take(np.array(rows))
    if task.judged:
        return task.judged[0].take(np.flatnonzero(_shares(task.judged[0], options) < options.test))
    return splits.test.corpus


def _autotune(
    model: Model, training: Labelled, validation: Labelled, options: ScorerOptions, listener: Listener
) -> tuple[Hyperparameters, list[dict[str, Any]]]:
    """The hyper-parameters of the best AUC on validation texts, and every trial. The recipe's own are the first."""
    draw = np.random.Generator(np.random.PCG64(options.seed))
    until = time.monotonic() + options.autotune_s
    trials: list[dict[str, Any]] = []
    best, chosen = (-math.inf, options.hyperparameters), options.hyperparameters
    while True:
        found = _trial(model, training, validation, chosen)
        trials.append({**asdict(chosen), "auc": found and round(found, 4)})
        listener.note(f"trial {len(trials)}: AUC {found} with {asdict(chosen)}")
        if found is not None and found > best[0]:
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


def _trial(model: Model, training: Labelled, validation: Labelled, chosen: Hyperparameters) -> float | None:
    """The AUC on validation texts, None where training breaks down."""
    try:
        weights = model.train(model.examples(training, chosen), chosen)
    except RunError:
        return None
    scores = predict(model.examples(validation, chosen), weights)[:, 1]
    return metrics.auc(validation.positive, np.nan_to_num(scores, nan=0.5))
