"""Training of a refiner: splits, tokenizer, teachers, the model itself, its threshold and its card.

The work folder has `tokenizer.json`, `checkpoint.pt`, and for each teacher `teacher-N/` with a checkpoint and the teacher's
probabilities (`likely.npy`). A training that was interrupted resumes from there.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from curate.errors import DataError, SpecError
from curate.models.lm_types import identity
from curate.prox import line_prompt
from curate.train.documents import Corpus, hashes, load_corpus
from curate.train.prox_refiner import RefinerOptions
from curate.train.recipe import Recipe, Setting
from curate.train.refiner_metrics import keep_probabilities, refiner_metrics
from curate.train.tokenizer import train_tokenizer
from curate.train.training_pages import PROGRAM, TrainingPage, epoch_examples, training_pages
from curate.train.write_card import check_card, write_refiner

if TYPE_CHECKING:
    from curate.lm.finetune import Progress
    from curate.lm.model import CausalLM

_LR, _MATRIX_LR, _BASE_FACTOR = 4e-3, 0.02, 0.1
_MIN_PROBABILITY = 1e-3
"""Probabilities are clipped to this distance from 0 and 1 before log-odds are averaged."""


@dataclass(frozen=True)
class RefinerTrainer:
    """A refiner in training."""

    options: RefinerOptions
    setting: Setting

    def run(self, recipe: Recipe) -> str:
        """Train, validate and write the refiner's folder; a summary.

        Raises DriftError when the folder has another refiner, DataError when a split is empty, SpecError for wrong options.
        """
        from curate.lm.train import torch_threads

        with torch_threads(self.options.threads):  # teachers' probabilities too: the last bits of a forward pass depend on it
            return self._run(recipe)

    def _run(self, recipe: Recipe) -> str:
        from curate.lm.model import num_parameters, save

        options, setting = self.options, self.setting
        base = identity(options.base) if options.base else None
        check_card(setting.out, recipe_digest=recipe.digest(), base=base)
        corpus, training, validation = self._splits(recipe)
        setting.work.mkdir(parents=True, exist_ok=True)
        if options.base is None:
            train_tokenizer(training, options.vocab_size, options.min_groups, line_prompt.SPECIAL, self._tokenizer)
        made_from: dict[str, Any] = {
            "documents": corpus.content_digest(), "programs": _digest(corpus.columns[PROGRAM]),
            "options": options.in_checkpoint(), "base": base,
        }  # fmt: skip
        model = self._initial_model(options)
        pages, validation_pages = (
            training_pages(split, self._tokenizer, options.max_line_tokens) for split in (training, validation)
        )
        setting.listener.note(
            f"{num_parameters(model.shape):,} parameters, {len(pages):,} documents to learn from, "
            f"{len(validation_pages):,} to judge"
        )
        if options.teachers:
            targets = self._teacher_probabilities(pages, training.groups, made_from)
            ends = np.cumsum([len(page.lines) for page in pages])[:-1]
            pages = [page.distilled(part) for page, part in zip(pages, np.split(targets, ends), strict=True)]
            made_from |= {"teachers": options.teachers, "words_frac": options.words_frac}
        losses = self._train(model, options, pages, made_from, setting.work)
        probabilities = [keep_probabilities(model, page, options.window, setting.device) for page in validation_pages]
        metrics = refiner_metrics(validation_pages, probabilities, losses, training, validation, options.kinds)
        save(model, setting.out, self._tokenizer, eos=line_prompt.EOS_ID)
        write_refiner(
            setting.out, recipe, training, metrics, window=options.window, max_line_tokens=options.max_line_tokens, base=base
        )
        best = metrics["thresholds"][str(metrics["threshold"])]
        return (
            f"line F1 {best['line_f1']:.3f}, word F1 {best['word_f1']:.3f} on {len(validation_pages):,} documents of other "
            "groups"
        )

    @property
    def _tokenizer(self) -> Path:
        return self.setting.work / "tokenizer.json"

    def _splits(self, recipe: Recipe) -> tuple[Corpus, Corpus, Corpus]:
        """All documents, the training split and the validation split."""
        options = self.options
        items = [
            load_corpus([item], options.group, columns=[PROGRAM, *options.kinds], seed=options.seed)
            for item in recipe.documents["documents"]
        ]
        if options.choose_by and max(options.choose_by) >= len(items):
            raise SpecError(f"choose_by: {list(options.choose_by)}: documents has {len(items)} items, from 0")
        corpus, item = Corpus.joined(items), np.repeat(np.arange(len(items)), [len(part) for part in items])
        held_out = hashes(corpus.groups, "split") / 2**64 < options.validation
        validates = held_out & (np.isin(item, options.choose_by) if options.choose_by else True)
        training, validation = corpus.take(np.flatnonzero(~held_out)), corpus.take(np.flatnonzero(validates))
        if not len(training) or not len(validation):
            raise DataError(f"{len(training)} documents to learn from, {len(validation)} to choose by. Give more groups.")
        return corpus, training, validation

    def _initial_model(self, options: RefinerOptions) -> CausalLM:
        """The model before its first step. With a base, the base's tokenizer is written to the work folder."""
        from curate.lm.model import CausalLM, Shape
        from curate.train.init_from_base import begun

        context = options.window + options.window // 2
        if options.base is not None:
            model = begun(Path(options.base), self._tokenizer, dropout=options.dropout, seed=options.seed)
            if context > model.shape.context:
                raise SpecError(
                    f"window ({options.window}): with a program {context} tokens, and base sees {model.shape.context}"
                )
            return model
        shape = Shape(
            vocab_size=options.vocab_size, width=options.width, layers=options.layers, heads=options.heads,
            hidden=options.hidden, context=context, bos=0,
        )  # fmt: skip
        return CausalLM(shape, options.seed, dropout=options.dropout)

    def _train(
        self,
        model: CausalLM,
        options: RefinerOptions,
        pages: Sequence[TrainingPage],
        made_from: Mapping[str, Any],
        folder: Path,
    ) -> list[float]:
        """Train the model in place, with checkpoints in the folder; the loss of every step."""
        from curate.lm.finetune import Tuning, tune

        listener, factor = self.setting.listener, _BASE_FACTOR if options.base else 1
        tuning = Tuning(
            tokens=options.tokens, batch_tokens=options.batch_tokens, lr=options.lr or _LR * factor,
            matrix_lr=options.matrix_lr or _MATRIX_LR * factor, weight_decay=options.weight_decay, seed=options.seed,
        )  # fmt: skip
        phase = folder.name if folder != self.setting.work else "train"
        listener.phase(phase, 100, 0)
        reported = [0]

        def report(progress: Progress) -> None:
            percent = min(100, int(100 * progress.tokens / progress.total))
            while reported[0] < percent:
                reported[0] += 1
                listener.advance(phase, f"step {progress.step}, loss {progress.loss:.3f}", None)

        return tune(
            model, tuning, lambda epoch: epoch_examples(pages, options, epoch), folder, dict(made_from), listener=report,
            device=self.setting.device, threads=options.threads,
        )  # fmt: skip

    # --- distillation

    def _teacher_probabilities(
        self, pages: Sequence[TrainingPage], groups: Sequence[str], made_from: Mapping[str, Any]
    ) -> npt.NDArray[np.float32]:
        """The teachers' mean probability that a line is kept, page after page. Shape (lines of all pages,)."""
        teachers = [self._probabilities_of_teacher(number, pages, made_from) for number in range(self.options.teachers)]
        mean: npt.NDArray[np.float32] = np.mean(teachers, axis=0)
        weight = self.options.words_frac
        if not weight:
            return mean
        classifier = self._probabilities_of_classifier(pages, groups, made_from)
        blank = np.concatenate([page.words == 0 for page in pages])  # the classifier has no prediction for blank lines
        weights = np.where(blank, 0.0, weight)
        odds = weights * _log_odds(classifier) + (1 - weights) * _log_odds(mean)
        return np.asarray(1 / (1 + np.exp(-odds)), np.float32)

    def _probabilities_of_teacher(
        self, number: int, pages: Sequence[TrainingPage], made_from: Mapping[str, Any]
    ) -> npt.NDArray[np.float32]:
        """Train a teacher in a folder of its own; its probabilities for the lines of all pages."""
        folder = self.setting.work / f"teacher-{number}"
        options = replace(self.options, seed=self.options.seed + 1 + number)
        model = self._initial_model(options)
        self._train(model, options, pages, {**made_from, "teacher": number}, folder)
        file = folder / "likely.npy"
        if not file.exists():
            probabilities = [keep_probabilities(model, page, options.window, self.setting.device) for page in pages]
            _save(file, np.concatenate(probabilities))
        saved: npt.NDArray[np.float32] = np.load(file)
        return saved

    def _probabilities_of_classifier(
        self, pages: Sequence[TrainingPage], groups: Sequence[str], made_from: Mapping[str, Any]
    ) -> npt.NDArray[np.float64]:
        """Out-of-fold probabilities of the linear line classifier for the lines of all pages."""
        from curate.train.line_classifier import unseen_probabilities

        digest = _digest([made_from["documents"], made_from["programs"], *groups])
        file = self.setting.work / f"words-{digest[:16]}.npy"
        if not file.exists():
            _save(file, unseen_probabilities([(page.lines, ~page.remove) for page in pages], groups))
        saved: npt.NDArray[np.float64] = np.load(file)
        return saved


def _save(file: Path, values: npt.NDArray[np.floating[Any]]) -> None:
    new = file.with_suffix(".new.npy")
    np.save(new, values)
    os.replace(new, file)


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()


def _log_odds(probabilities: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    clipped = np.clip(probabilities.astype(np.float64), _MIN_PROBABILITY, 1 - _MIN_PROBABILITY)
    return np.log(clipped / (1 - clipped))
