"""Recipes of kind `prox`: a small language model that decides which lines of a text go, and whether the text stays.

    name: prox-mini-v1
    kind: prox
    documents:
      - source: {parquet: {paths: out/pairs/data/*.parquet}}
        about: WCXB, CC-BY-4.0

Documents are pairs: `text`, and `program`, which cleans it (`label_lines` writes them from pages whose main text is known; so
may an annotating model, or people).

The model has the Llama architecture, and begins from nothing: its tokenizer and its weights are made of these documents alone;
or it begins from a `base`, a Llama in a folder of Hugging Face's files, whose shape and tokenizer it then has.

It is asked by the prompt of `prox/marked.py`, and reads it in both directions. Some windows it reads forwards only, and learns
to write their program, so that it is a causal language model too.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Le, Lt

from curate.config.options import AssetPath
from curate.errors import DataError, SpecError
from curate.models.lm_types import identity, load_encoder
from curate.prox import line_prompt
from curate.prox.align import line_f1, word_f1, words_of
from curate.prox.line_masks import removed_lines
from curate.prox.line_prompt import LinePrompt, combined, marked_prompts, overlapping_prompts, program_ids, shown_lines
from curate.train.documents import Corpus, hashes, load_corpus
from curate.train.recipe import Recipe, Setting
from curate.train.tokenizer import train_tokenizer
from curate.train.write_card import check_card, write_refiner

if TYPE_CHECKING:
    from curate.lm.finetune import Example, Progress
    from curate.lm.model import CausalLM

PROGRAM = "program"
_LIKELY = "likely.npy"
_TAUGHT = 0.85
"""What likelihoods of the teachers count beside what is known."""
_UNSURE = 1e-3
"""The least that a probability among teachers can be."""
_DOCUMENT_WEIGHT, _PROGRAM_WEIGHT = 4.0, 0.5
_LR, _MATRIX_LR = 4e-3, 0.02
THRESHOLDS = tuple(round(0.05 * number, 2) for number in range(2, 15))


@dataclass(frozen=True, kw_only=True)
class Refiner:
    """The shape of the model, its prompt, and how long it learns."""

    base: AssetPath | None = None
    """A model to begin from, whose shape and tokenizer count instead of those given here."""
    width: Annotated[int, Ge(1)] = 128
    layers: Annotated[int, Ge(1)] = 4
    heads: Annotated[int, Ge(1)] = 4
    hidden: Annotated[int, Ge(1)] = 352
    vocab_size: Annotated[int, Ge(600)] = 4096
    """Of the byte-level BPE tokenizer, special tokens included."""
    min_groups: Annotated[int, Ge(1)] = 20
    """In how many groups of documents a piece of the vocabulary occurs at least."""
    window: Annotated[int, Ge(64)] = 384
    """Tokens of a prompt."""
    max_line_tokens: Annotated[int, Ge(8)] = 16
    """Of a longer line the first and the last are shown."""
    tokens: Annotated[int, Ge(1)]
    """To train on."""
    batch_tokens: Annotated[int, Ge(64)] = 4096
    lr: Annotated[float, Gt(0)] | None = None
    """Of embeddings. 0.004, and a tenth of that with a base."""
    matrix_lr: Annotated[float, Gt(0)] | None = None
    """Of all other matrices. 0.02, and a tenth of that with a base."""
    weight_decay: Annotated[float, Ge(0)] = 0.1
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.1
    hidden_frac: Annotated[float, Ge(0), Lt(1)] = 0.3
    """Tokens of lines that are hidden in training, so that no word decides alone: pages are few, and their words many."""
    left_out_frac: Annotated[float, Ge(0), Le(0.5)] = 0.15
    """Lines that are left out in training on average, so that no page is seen twice."""
    shortened_frac: Annotated[float, Ge(0), Lt(1)] = 0.15
    """Pages of which most lines are left out: else a short text, all in one window, would be a thing never seen."""
    mixed_frac: Annotated[float, Ge(0), Lt(1)] = 0.3
    """Pages that get the content of another page in place of their own, so that no site's menus are known by what it writes."""
    written_frac: Annotated[float, Ge(0), Lt(1)] = 0.15
    """Windows that are read forwards only and followed by their program."""
    teachers: Annotated[int, Ge(0)] = 0
    """So many models of this shape learn first, apart by their seeds. This one learns of every line mostly what they hold for
    likely on average, which errs less than any of them, and a little its program (Hinton et al. 2015, arXiv:1503.02531)."""
    words_frac: Annotated[float, Ge(0), Lt(1)] = 0.0
    """What a linear classifier of lines by their words (`line_words.py`) counts among the teachers, in log-odds. Of every page
    one is asked that has not learnt its group; it errs otherwise than they do."""
    min_content_words: Annotated[int, Ge(0)] = 50
    min_content_frac: Annotated[float, Ge(0), Lt(1)] = 0.1
    """A window should stay when the lines that stay have so many words, and this share of all words; a document, when one of
    its windows should."""
    group: tuple[str, ...] = ("host",)
    """Columns that make a group, joined; `host` is that of the URL. Splits go by groups."""
    validation: Annotated[float, Gt(0), Lt(1)] = 0.1
    """Share of the groups by which the threshold is chosen."""
    choose_by: tuple[Annotated[int, Ge(0)], ...] = ()
    """The items of `documents`, counted from 0, by whose pages of those groups it is chosen; all, if none is named. Text that
    an extractor has cleaned asks for a lower threshold than text as it stands on the page, which a refiner is for."""
    kinds: tuple[str, ...] = ()
    """Columns that say of what kind a document is. Each kind counts alike when the threshold is chosen, however many documents
    it has."""
    seed: Annotated[int, Ge(0)] = 0
    threads: Annotated[int, Ge(1)] | None = None
    intended_use: str = ""
    biases: str = ""

    documents: ClassVar[dict[str, bool]] = {"documents": True}

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise ValueError(f"width ({self.width}) must be heads ({self.heads}) times an even number")
        if self.max_line_tokens + line_prompt.AROUND + 2 > self.window:
            raise ValueError(f"window ({self.window}) has no room for a line of max_line_tokens ({self.max_line_tokens})")
        if self.words_frac and not self.teachers:
            raise ValueError(f"words_frac ({self.words_frac}) is a share among teachers, and there are none")

    def fit(self, recipe: Recipe, setting: Setting) -> str:
        from curate.lm.train import torch_threads

        with torch_threads(self.threads):  # what teachers say too: the last bits of a forward pass depend on it
            return self._fit(recipe, setting)

    def _fit(self, recipe: Recipe, setting: Setting) -> str:
        from curate.lm.model import num_parameters, save

        base = identity(self.base) if self.base else None
        check_card(setting.out, recipe_digest=recipe.digest(), base=base)
        items = [
            load_corpus([item], self.group, columns=[PROGRAM, *self.kinds], seed=self.seed)
            for item in recipe.documents["documents"]
        ]
        if self.choose_by and max(self.choose_by) >= len(items):
            raise SpecError(f"choose_by: {list(self.choose_by)}: documents has {len(items)} items, from 0")
        corpus, item = Corpus.joined(items), np.repeat(np.arange(len(items)), [len(part) for part in items])
        held = hashes(corpus.groups, "split") / 2**64 < self.validation
        chooses = held & (np.isin(item, self.choose_by) if self.choose_by else True)
        training, validation = corpus.take(np.flatnonzero(~held)), corpus.take(np.flatnonzero(chooses))
        if not len(training) or not len(validation):
            raise DataError(f"{len(training)} documents to learn from, {len(validation)} to choose by. Give more groups.")
        setting.work.mkdir(parents=True, exist_ok=True)
        tokenizer = setting.work / "tokenizer.json"
        if self.base is None:
            train_tokenizer(training, self.vocab_size, self.min_groups, line_prompt.SPECIAL, tokenizer)
        about: dict[str, Any] = {
            "documents": corpus.content_digest(), "programs": _digest(corpus.columns[PROGRAM]), "options": self._learning(),
            "base": base,
        }  # fmt: skip
        model = self._begin(tokenizer)
        pages, judged = (self._pages(part, tokenizer) for part in (training, validation))
        setting.listener.note(
            f"{num_parameters(model.shape):,} parameters, {len(pages):,} documents to learn from, {len(judged):,} to judge"
        )
        if self.teachers:
            likely = self._taught(pages, training.groups, about, setting)
            ends = np.cumsum([len(page.lines) for page in pages])[:-1]
            pages = [page.told(some) for page, some in zip(pages, np.split(likely, ends), strict=True)]
            about |= {"teachers": self.teachers, "words_frac": self.words_frac}
        losses = self._train(model, pages, about, setting.work, setting)
        probabilities = [keep_probabilities(model, page, self.window, setting.device) for page in judged]
        metrics = _metrics(judged, probabilities, losses, training, validation, self.kinds)
        save(model, setting.out, tokenizer, eos=line_prompt.EOS_ID)
        write_refiner(
            setting.out, recipe, training, metrics, window=self.window, max_line_tokens=self.max_line_tokens, base=base
        )
        best = metrics["thresholds"][str(metrics["threshold"])]
        return f"line F1 {best['line_f1']:.3f}, word F1 {best['word_f1']:.3f} on {len(judged):,} documents of other groups"

    def _learning(self) -> str:
        """The options that a model of this seed depends on, whatever it is told of lines and used for."""
        apart = ("teachers", "words_frac", "choose_by", "kinds", "threads", "intended_use", "biases")
        return json.dumps({name: value for name, value in asdict(self).items() if name not in apart}, default=str)

    def _taught(
        self, pages: Sequence[TrainingPage], groups: Sequence[str], about: Mapping[str, Any], setting: Setting
    ) -> npt.NDArray[np.float32]:
        """What all teachers hold for likely of the lines of all pages, one after another."""
        told = [self._teach(number, pages, about, setting) for number in range(self.teachers)]
        likely: npt.NDArray[np.float32] = np.mean(told, axis=0)
        if not self.words_frac:
            return likely
        from curate.train.line_classifier import unseen_probabilities

        path = setting.work / f"words-{_digest([about['documents'], about['programs'], *groups])[:16]}.npy"
        if not path.exists():
            found = unseen_probabilities([(page.lines, ~page.remove) for page in pages], groups)
            np.save(path.with_suffix(".new.npy"), found)
            os.replace(path.with_suffix(".new.npy"), path)
        blank = np.concatenate([page.words == 0 for page in pages])  # of which the classifier says nothing
        share = np.where(blank, 0.0, self.words_frac)
        odds = share * _log_odds(np.load(path)) + (1 - share) * _log_odds(likely)
        return np.asarray(1 / (1 + np.exp(-odds)), np.float32)

    def _teach(
        self, number: int, pages: Sequence[TrainingPage], about: Mapping[str, Any], setting: Setting
    ) -> npt.NDArray[np.float32]:
        """What a model of another seed, trained in a folder of its own, holds for likely of the lines of all pages, one after
        another."""
        one, folder = replace(self, seed=self.seed + 1 + number), setting.work / f"teacher-{number}"
        model = one._begin(setting.work / "tokenizer.json")
        one._train(model, pages, {**about, "teacher": number}, folder, setting)
        if not (folder / _LIKELY).exists():
            found = np.concatenate([keep_probabilities(model, page, self.window, setting.device) for page in pages])
            np.save(folder / f"new-{_LIKELY}", found)
            os.replace(folder / f"new-{_LIKELY}", folder / _LIKELY)
        likely: npt.NDArray[np.float32] = np.load(folder / _LIKELY)
        return likely

    def _train(
        self, model: CausalLM, pages: Sequence[TrainingPage], about: Mapping[str, Any], folder: Path, setting: Setting
    ) -> list[float]:
        """Train the model in place, with checkpoints in the folder; the loss of every step."""
        from curate.lm.finetune import Tuning, tune

        tuning = Tuning(
            tokens=self.tokens,
            batch_tokens=self.batch_tokens,
            lr=self.lr or _LR * (0.1 if self.base else 1),
            matrix_lr=self.matrix_lr or _MATRIX_LR * (0.1 if self.base else 1),
            weight_decay=self.weight_decay,
            seed=self.seed,
        )
        phase = folder.name if folder != setting.work else "train"
        setting.listener.phase(phase, 100, 0)
        reported = [0]

        def tell(progress: Progress) -> None:
            percent = min(100, int(100 * progress.tokens / progress.total))
            while reported[0] < percent:
                reported[0] += 1
                setting.listener.advance(phase, f"step {progress.step}, loss {progress.loss:.3f}", None)

        return tune(
            model, tuning, lambda number: self._epoch(pages, number), folder, dict(about), listener=tell,
            device=setting.device, threads=self.threads,
        )  # fmt: skip

    def _begin(self, tokenizer: Path) -> CausalLM:
        """The model before it has learnt anything. That of a base has its tokenizer written."""
        from curate.lm.model import CausalLM, Shape
        from curate.train.init_from_base import begun

        context = self.window + self.window // 2
        if self.base is not None:
            model = begun(Path(self.base), tokenizer, dropout=self.dropout, seed=self.seed)
            if context > model.shape.context:
                raise SpecError(f"window ({self.window}): with a program {context} tokens, and base sees {model.shape.context}")
            return model
        shape = Shape(
            vocab_size=self.vocab_size, width=self.width, layers=self.layers, heads=self.heads, hidden=self.hidden,
            context=context, bos=0,
        )  # fmt: skip
        return CausalLM(shape, self.seed, dropout=self.dropout)

    def _epoch(self, pages: Sequence[TrainingPage], number: int) -> list[Example]:
        """Every page once, without some of its lines, cut into windows from a line drawn anew."""
        draw = np.random.Generator(np.random.PCG64([self.seed, number, 1]))
        examples = []
        for page in pages:
            if draw.random() < self.mixed_frac:
                page = page.with_content_of(pages[int(draw.integers(len(pages)))])
            short = draw.random() < self.shortened_frac
            left_out = draw.uniform(0.3, 0.95) if short else draw.uniform(0.0, 2 * self.left_out_frac)
            part = page.take(np.flatnonzero(draw.random(len(page.shown)) >= left_out))
            start = int(draw.integers(0, max(1, min(40, len(part.shown) // 2)))) if draw.random() < 0.5 else 0
            for prompt in marked_prompts(part.shown, self.window, start):
                example = self._example(part, prompt, draw.random() < self.written_frac)
                hide = (draw.random(len(example.ids)) < self.hidden_frac) & (example.ids >= len(line_prompt.SPECIAL))
                examples.append(replace(example, ids=np.where(hide, line_prompt.CUT_ID, example.ids)))
        return examples

    def _example(self, page: TrainingPage, prompt: LinePrompt, written: bool) -> Example:
        """What is to be predicted of a window: lines at their marks, the document, and if that is to be learnt, and short
        enough, the program."""
        from curate.lm.finetune import Example

        lines = slice(prompt.first, prompt.stop)
        remove, words, keep = page.remove[lines], page.words[lines], page.keep[lines]
        end = len(prompt.ids)
        decision = line_prompt.KEEP_DOC_ID if self._has_content(words, remove) else line_prompt.DROP_DOC_ID
        program = program_ids(remove.tolist()) if written else []
        causal = 0 < len(program) < self.window // 2
        program = program if causal else []
        ids = [*prompt.ids, decision, *program] if causal else prompt.ids
        places = [*prompt.places, *prompt.places, end - 1, *range(end, end + len(program))]
        targets = [*[line_prompt.KEEP_ID] * len(keep), *[line_prompt.REMOVE_ID] * len(keep), decision, *program]
        # A line weighs more the longer it is: what it says is as many words, and a blank one goes with its neighbours anyhow.
        line = 0.2 + 0.4 * np.log2(1 + words)
        weights = np.concatenate([line * keep, line * (1 - keep), [_DOCUMENT_WEIGHT], np.full(len(program), _PROGRAM_WEIGHT)])
        return Example(np.array(ids), np.array(places), np.array(targets), weights.astype(np.float32), causal)

    def _has_content(self, words: npt.NDArray[np.int64], remove: npt.NDArray[np.bool_]) -> bool:
        kept = int(words[~remove].sum())
        return kept >= max(1, self.min_content_words) and kept >= self.min_content_frac * int(words.sum())

    def _pages(self, corpus: Corpus, tokenizer: Path) -> list[TrainingPage]:
        encoder = load_encoder(str(tokenizer.parent), None)
        pages = []
        for row, text in enumerate(corpus.texts.to_pylist()):
            lines = text.split("\n")
            try:
                remove = np.array(removed_lines(corpus.columns[PROGRAM][row], len(lines)), np.bool_)
            except (ValueError, TypeError) as error:
                raise SpecError(f"document {corpus.ids[row]!r}: its program cannot be read: {error}") from error
            words = np.array([len(words_of(line)) for line in lines])
            shown = shown_lines(lines, encoder, self.max_line_tokens)
            pages.append(TrainingPage(lines, shown, remove, words, 1 - remove.astype(np.float32)))
        return pages


@dataclass(frozen=True)
class TrainingPage:
    """A document ready to learn from."""

    lines: Sequence[str]
    shown: Sequence[Sequence[int]]
    remove: npt.NDArray[np.bool_]
    """Of every line."""
    words: npt.NDArray[np.int64]
    """In every line."""
    keep: npt.NDArray[np.float32]
    """How sure it is that a line stays."""

    def told(self, likely: npt.NDArray[np.float32]) -> TrainingPage:
        """Sure of its lines mostly as teachers are: `likely` is the probability that a line stays. Shape (lines,)."""
        return replace(self, keep=(1 - _TAUGHT) * self.keep + _TAUGHT * likely)

    def take(self, rows: npt.NDArray[np.int64]) -> TrainingPage:
        """Some of its lines, by number."""
        some = rows.tolist()
        lines, shown = [self.lines[row] for row in some], [self.shown[row] for row in some]
        return TrainingPage(lines, shown, self.remove[rows], self.words[rows], self.keep[rows])

    def with_content_of(self, other: TrainingPage) -> TrainingPage:
        """What stands here before and after the content, and there from the first line of the content to its last."""
        (here, here_end), (there, there_end) = self.content(), other.content()
        around = self.take(np.r_[0:here, here_end : len(self.lines)])
        inside = other.take(np.arange(there, there_end))
        return TrainingPage(
            [*around.lines[:here], *inside.lines, *around.lines[here:]],
            [*around.shown[:here], *inside.shown, *around.shown[here:]],
            np.concatenate([around.remove[:here], inside.remove, around.remove[here:]]),
            np.concatenate([around.words[:here], inside.words, around.words[here:]]),
            np.concatenate([around.keep[:here], inside.keep, around.keep[here:]]),
        )

    def content(self) -> tuple[int, int]:
        """The first line that stays, and the one after the last; (0, 0) where none does."""
        kept = np.flatnonzero(~self.remove)
        return (int(kept[0]), int(kept[-1]) + 1) if len(kept) else (0, 0)


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()


def _log_odds(probabilities: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    clear = np.clip(probabilities.astype(np.float64), _UNSURE, 1 - _UNSURE)
    return np.log(clear / (1 - clear))


def keep_probabilities(model: CausalLM, page: TrainingPage, window: int, device: str) -> npt.NDArray[np.float32]:
    """The probability that a line stays, as it is served. Shape (lines,)."""
    from curate.lm.pair_scoring import pair_probabilities

    prompts, pair = overlapping_prompts(page.shown, window), (line_prompt.KEEP_ID, line_prompt.REMOVE_ID)
    asked = [(prompt.ids, prompt.places, pair, (), ()) for prompt in prompts]
    return combined(prompts, [lines for lines, _ in pair_probabilities(model, asked, device)], len(page.lines))


def _metrics(
    pages: Sequence[TrainingPage], probabilities: Sequence[npt.NDArray[np.float32]], losses: Sequence[float], training: Corpus,
    validation: Corpus, kinds: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """How well lines are chosen, by threshold, means over documents, or over kinds of them. The best threshold is that of the
    best F1 of words: most lines are short and go, most words are in long ones that stay, and words are what is kept of a
    text."""
    kind = ["\0".join(str(validation.columns[name][row]) for name in kinds) for row in range(len(validation))]
    counts = Counter(kind)
    weights = np.array([1 / counts[name] if kinds else 1.0 for name in kind])
    table = {str(limit): _at(pages, probabilities, limit, weights) for limit in THRESHOLDS}
    best = max(THRESHOLDS, key=lambda limit: table[str(limit)]["word_f1"])
    return {
        "threshold": best,
        "thresholds": table,
        "training_loss": round(float(np.mean(losses[-100:])), 4),
        "documents": {"training": len(training), "validation": len(validation)},
        "groups": {"training": len(set(training.groups)), "validation": len(set(validation.groups))},
    }


def _at(
    pages: Sequence[TrainingPage],
    probabilities: Sequence[npt.NDArray[np.float32]],
    limit: float,
    weights: npt.NDArray[np.float64],
) -> Mapping[str, float]:
    rows = []
    for page, probability in zip(pages, probabilities, strict=True):
        worded = page.words > 0
        remove = probability < limit
        kept = [line for line, gone in zip(page.lines, remove, strict=True) if not gone]
        wanted = [line for line, gone in zip(page.lines, page.remove, strict=True) if not gone]
        good = worded & ~page.remove
        rows.append((
            line_f1(remove & worded, page.remove & worded),
            word_f1("\n".join(kept), "\n".join(wanted)),
            float((remove & good).sum() / max(1, good.sum())),
        ))  # fmt: skip
    names = ("line_f1", "word_f1", "good_lines_lost")
    return {name: round(float(value), 4) for name, value in zip(names, np.average(rows, axis=0, weights=weights), strict=True)}
