"""Recipes of kind `influence`: an encoder that predicts from a text what `curate probe` measures (MATES's influence model).

    name: influence-r1-v1
    kind: influence
    documents: [{source: {parquet: {paths: out/probe/probes-r1-v1/probes.parquet}}}]
    encoder: models/bert-base-uncased

The encoder is a folder of Hugging Face's, or a name of the hub: a BERT; the body of a causal language model, such as the one
that was probed; or the influence model of the round before, whose head is kept. Without one a small BERT begins from nothing.

Labels are standardised by the mean and the deviation of those learnt from, which are on the card. Of all epochs that one counts
whose ranks agree best with the influences of groups set apart for it; how good it is, is said of yet others, next to what the
length of a text tells, and a ridge regression on its fastText embedding.

Source: Yu et al. 2024, "MATES" (arXiv:2406.06046), section 4.2 and their code: MSE, 5 epochs, lr 5e-5 falling in a line.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from annotated_types import Ge, Gt, Le, Lt

from curate.config.options import DatasetPath
from curate.errors import DataError
from curate.models.fasttext import text_vectors
from curate.models.lm_types import identity
from curate.train import metrics
from curate.train.documents import Corpus, hashes, load_corpus
from curate.train.recipe import Recipe, Setting
from curate.train.tokenizer import train_tokenizer
from curate.train.write_card import check_card, write_influence

F64 = npt.NDArray[np.float64]
_SPECIAL = ("[PAD]", "[CLS]", "[SEP]")
_SCRATCH_LR = 1e-3


@dataclass(frozen=True, kw_only=True)
class InfluenceModel:
    """The encoder, its windows, and its training."""

    encoder: DatasetPath | None = None
    """A name of the hub, or a folder if it begins with `.` or `/`."""
    width: Annotated[int, Ge(1)] = 128
    """Size of the BERT that is trained from scratch, with the next five options."""
    layers: Annotated[int, Ge(1)] = 2
    heads: Annotated[int, Ge(1)] = 4
    hidden: Annotated[int, Ge(1)] = 256
    vocab_size: Annotated[int, Ge(300)] = 4096
    min_groups: Annotated[int, Ge(1)] = 5
    """The least number of groups of documents that a vocabulary entry occurs in."""
    window: Annotated[int, Ge(8)] = 512
    """Tokens that the encoder sees at once."""
    max_windows: Annotated[int, Ge(1)] = 2
    """Windows per text; the rest of the text is not read."""
    label: str = "influence"
    """The column of the label."""
    group: tuple[str, ...] = ("group",)
    """Columns that make a group, joined. Splits go by groups."""
    validation: Annotated[float, Gt(0), Lt(1)] = 0.1
    """Share of the groups in the validation split, on which the epoch is selected."""
    test: Annotated[float, Gt(0), Lt(1)] = 0.1
    """Share of the groups in the test split."""
    epochs: Annotated[int, Ge(1)] = 5
    batch: Annotated[int, Ge(1)] = 32
    """Documents in a step."""
    lr: Annotated[float, Gt(0)] | None = None
    """5e-5 with an encoder, 1e-3 without."""
    weight_decay: Annotated[float, Ge(0)] = 0.01
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.1
    """Before the head."""
    warmup_frac: Annotated[float, Ge(0), Le(1)] = 0.06
    seed: Annotated[int, Ge(0)] = 0
    threads: Annotated[int, Ge(1)] | None = None
    batch_tokens: Annotated[int, Ge(1)] = 8192
    """At once, where texts are scored."""
    intended_use: str = ""
    biases: str = ""

    documents: ClassVar[dict[str, bool]] = {"documents": True}

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width ({self.width}) must be a multiple of heads ({self.heads})")
        if self.validation + self.test >= 1:
            raise ValueError(f"validation ({self.validation}) and test ({self.test}) leave nothing to learn from")

    def fit(self, recipe: Recipe, setting: Setting) -> str:
        from curate.lm.train import torch_threads

        base = identity(self.encoder) if self.encoder else None
        check_card(setting.out, recipe_digest=recipe.digest(), base=base)
        corpus = load_corpus(recipe.documents["documents"], self.group, columns=[self.label], seed=self.seed)
        parts = self._split(corpus)
        training = parts["training"]
        labels = {name: np.array(part.columns[self.label], np.float64) for name, part in parts.items()}
        mean, deviation = float(labels["training"].mean()), float(labels["training"].std())
        if not deviation > 0:
            raise DataError(f"{self.label}: all {len(training):,} labels are {mean}, so there is nothing to learn.")
        setting.work.mkdir(parents=True, exist_ok=True)
        with torch_threads(self.threads):
            epoch, scores, cost = self._train(parts, labels, mean, deviation, setting)
            found: dict[str, Any] = {
                "test": _judged({"model": scores, **_baselines(parts, labels)}, labels["test"], parts["test"].groups),
                "epoch": epoch,
                **cost,
                "label_mean": mean,
                "label_std": deviation,
                "score_std": float(scores.std()),
                "documents": {name: len(part) for name, part in parts.items()},
                "groups": {name: len(set(part.groups)) for name, part in parts.items()},
            }
        setting.out.mkdir(parents=True, exist_ok=True)
        for file in (setting.work / "best").iterdir():
            shutil.copy(file, setting.out / file.name)
        write_influence(setting.out, recipe, training, found, window=self.window, max_windows=self.max_windows, base=base)
        of = found["test"]
        correlations = ", ".join(f"{name} {of[name]['spearman']['value']:.3f}" for name in of)
        return f"Spearman on {len(parts['test']):,} documents of other groups: {correlations}"

    def _split(self, corpus: Corpus) -> dict[str, Corpus]:
        share = hashes(corpus.groups, "split") / 2**64
        rows = {
            "validation": share < self.validation,
            "test": (share >= self.validation) & (share < self.validation + self.test),
            "training": share >= self.validation + self.test,
        }
        parts = {name: corpus.take(np.flatnonzero(chosen)) for name, chosen in rows.items()}
        if few := [f"{name} {len(part)}" for name, part in parts.items() if len(part) < 10]:
            raise DataError(f"too few documents: {', '.join(few)}. Probe more, or group them less.")
        return parts

    def _train(
        self, parts: Mapping[str, Corpus], labels: Mapping[str, F64], mean: float, deviation: float, setting: Setting
    ) -> tuple[int, F64, dict[str, float]]:
        """Train, and save the best epoch to the work folder; its number, its scores on the test split, and the FLOPs."""
        import torch

        from curate.lm.encoder import save

        model = self._begin(parts["training"], setting.work).to(setting.device)
        lr = self.lr or (5e-5 if self.encoder else _SCRATCH_LR)
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=self.weight_decay)
        texts = parts["training"].texts.to_pylist()
        wanted = torch.from_numpy(((labels["training"] - mean) / deviation).astype(np.float32)).to(setting.device)
        steps = self.epochs * -(-len(texts) // self.batch)
        warmup = max(1, round(self.warmup_frac * steps))
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))
        )
        setting.listener.phase("epochs", self.epochs, 0)
        best, chosen = -2.0, 0
        for epoch in range(self.epochs):
            model.train()
            torch.manual_seed(self.seed * 1_000_003 + epoch)
            order = np.random.Generator(np.random.PCG64([self.seed, epoch])).permutation(len(texts))
            total = 0.0
            for start in range(0, len(order), self.batch):
                some = order[start : start + self.batch].tolist()
                optimizer.zero_grad()
                loss = torch.nn.functional.mse_loss(model(model.windows([texts[row] for row in some])), wanted[some])
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                total += loss.item() * len(some)
            model.eval()
            found = model.predict(parts["validation"].texts.to_pylist(), self.batch_tokens)
            agreement = metrics.spearman(found, labels["validation"])
            setting.listener.advance("epochs", f"loss {total / len(texts):.3f}, Spearman {agreement:.3f}", None)
            if not agreement <= best:  # an epoch without ranks is better than none
                best, chosen = agreement, epoch + 1
                scores = model.predict(parts["test"].texts.to_pylist(), self.batch_tokens).astype(np.float64)
                shutil.rmtree(setting.work / "best", ignore_errors=True)
                save(model, setting.work / "best")
        size = sum(p.numel() for p in model.parameters()) - model.encoder.get_input_embeddings().weight.numel()
        tokens = sum(map(len, model.windows(texts).ids))
        cost = {
            "flops": 6.0 * size * tokens * self.epochs,
            "flops_per_char": 2.0 * size * tokens / max(1, int(parts["training"].chars.sum())),
        }
        return chosen, scores, cost

    def _begin(self, training: Corpus, work: Path) -> Any:
        from curate.lm.encoder import Regressor, begin, tiny

        if self.encoder is not None:
            return begin(self.encoder, window=self.window, max_windows=self.max_windows, dropout=self.dropout, seed=self.seed)
        path = work / "tokenizer.json"
        train_tokenizer(training, self.vocab_size, self.min_groups, _SPECIAL, path)
        encoder, tokenizer = tiny(
            path, _SPECIAL, width=self.width, layers=self.layers, heads=self.heads, hidden=self.hidden, window=self.window,
            seed=self.seed,
        )  # fmt: skip
        return Regressor(encoder, tokenizer, window=self.window, max_windows=self.max_windows, dropout=self.dropout)


def _judged(scores: Mapping[str, F64], wanted: F64, groups: Sequence[str]) -> dict[str, Any]:
    """Spearman's correlation with its interval over groups, and Pearson's, for the model and each baseline."""
    return {
        name: {
            "spearman": metrics.bootstrap(metrics.spearman, groups, found, wanted).as_json(),
            "pearson": round(float(np.corrcoef(found, wanted)[0, 1]), 4) if found.std() and wanted.std() else 0.0,
        }
        for name, found in scores.items()
    }


def _baselines(parts: Mapping[str, Corpus], labels: Mapping[str, F64]) -> dict[str, F64]:
    """Predictions of baselines on the test split: from the length, and from a fastText embedding if that is installed."""
    sizes = {name: np.log1p(part.chars.astype(np.float64))[:, None] for name, part in parts.items()}
    found = {"length": _ridge(sizes, labels)}
    texts = {name: part.texts.to_pylist() for name, part in parts.items()}
    vectors = text_vectors(texts["training"], [text for some in texts.values() for text in some])
    if vectors is not None:
        ends = np.cumsum([len(some) for some in texts.values()])[:-1]
        found["fasttext"] = _ridge(dict(zip(texts, np.split(vectors, ends), strict=True)), labels)
    return found


def _ridge(features: Mapping[str, F64], labels: Mapping[str, F64]) -> F64:
    """Predictions for the test part of a ridge regression, whose penalty agrees best on the validation part."""
    mean, spread = features["training"].mean(axis=0), features["training"].std(axis=0) + 1e-9
    x = {name: (values - mean) / spread for name, values in features.items()}
    y = labels["training"] - labels["training"].mean()
    gram, product = x["training"].T @ x["training"], x["training"].T @ y
    best, chosen = -2.0, np.zeros(len(product))
    for penalty in (1.0, 10.0, 100.0, 1000.0, 10_000.0):
        weights = np.linalg.solve(gram + penalty * np.eye(len(gram)), product)
        agreement = metrics.spearman(x["validation"] @ weights, labels["validation"])
        if agreement > best:
            best, chosen = agreement, weights
    predicted: F64 = x["test"] @ chosen
    return predicted
