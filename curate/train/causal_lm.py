"""Recipes of kind `causal_lm`: small language models of one family, trained on the same text, each measured.

    name: mini-lms-v1
    kind: causal_lm
    documents: [{source: {parquet: {paths: out/texts/*.parquet}}, part: [0.0, 0.4]}]
    evals: [../evals/arc_easy/*.jsonl.gz]
    models:
      a: {width: 96, layers: 3, heads: 4, hidden: 256, tokens: 2_000_000}
      b: {width: 128, layers: 4, heads: 4, hidden: 352, tokens: 4_000_000}

Every model is a folder that Hugging Face's `transformers` and vLLM load, with `downstream.json`: its mean loss on evaluation
items, in bits per character of the right answer given the question. At these sizes accuracy is at chance and says nothing;
the loss of the right answers orders models well before (Schaeffer et al. 2023, arXiv:2304.15004).
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt

from curate.config.options import PatternPath
from curate.errors import DriftError
from curate.train.documents import Corpus, load_corpus
from curate.train.eval_items import Items, read_items
from curate.train.recipe import Recipe, Setting
from curate.train.tokenizer import train_cased_tokenizer

DOWNSTREAM, FAMILY, TOKENIZER = "downstream.json", "family.json", "tokenizer.json"


@dataclass(frozen=True, kw_only=True)
class Size:
    """One model: its shape, and how many tokens it sees."""

    width: Annotated[int, Ge(1)]
    layers: Annotated[int, Ge(1)]
    heads: Annotated[int, Ge(1)]
    hidden: Annotated[int, Ge(1)]
    tokens: Annotated[int, Ge(1)]
    seed: Annotated[int, Ge(0)] = 0

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise ValueError(f"width ({self.width}) must be heads ({self.heads}) times an even number")


@dataclass(frozen=True, kw_only=True)
class CausalLMs:
    """A family of small language models."""

    models: dict[str, Size]
    evals: tuple[PatternPath, ...]
    """JSON lines of multiple choice (`query`, `choices`, `gold`) or of texts to go on with (`context`, `continuation`)."""
    max_items: Annotated[int, Ge(1)] = 500
    """Limit of items per file of `evals`, spread evenly over it."""
    vocab_size: Annotated[int, Ge(258)] = 4096
    """Size of the byte-level BPE vocabulary, which is trained on the same documents."""
    context: Annotated[int, Ge(8)] = 256
    batch: Annotated[int, Ge(1)] = 16
    """Sequences in a step."""
    lr: Annotated[float, Gt(0)] = 3e-3
    group: tuple[str, ...] = ("host",)
    threads: Annotated[int, Ge(1)] | None = None
    checkpoint_every: Annotated[int, Ge(1)] = 200
    """Steps."""

    documents: ClassVar[dict[str, bool]] = {"documents": True}

    def __post_init__(self) -> None:
        if not self.models:
            raise ValueError("models: name at least one, 'a: {width: 128, layers: 4, ...}'")
        if not self.evals:
            raise ValueError("evals: name files of evaluation items, by which the models are ordered")

    def fit(self, recipe: Recipe, setting: Setting) -> str:
        corpus = load_corpus(recipe.documents["documents"], self.group)
        setting.out.mkdir(parents=True, exist_ok=True)
        self._claim(corpus, setting)
        tokenizer = setting.out / TOKENIZER
        if not tokenizer.exists():
            setting.listener.note(f"a tokenizer of {self.vocab_size:,} pieces from {len(corpus):,} documents")
            train_cased_tokenizer(corpus.texts.to_pylist(), self.vocab_size, tokenizer)
        items = read_items(self.evals, self.max_items)
        results = [f"{name}: {self._model(name, size, corpus, items, setting):.4f}" for name, size in self.models.items()]
        (setting.out / "recipe.yaml").write_text(recipe.as_text(setting.out), "utf-8")
        return f"bits per character of the right answers: {', '.join(results)}"

    def _claim(self, corpus: Corpus, setting: Setting) -> None:
        """Say what the family is trained on. Raises DriftError when the folder has another family."""
        path = setting.out / FAMILY
        about = {"documents": corpus.content_digest(), "vocab_size": self.vocab_size}
        if not path.exists():
            path.write_text(json.dumps(about) + "\n")
        elif (found := json.loads(path.read_text())) != about:
            differ = ", ".join(name for name in about if found.get(name) != about[name])
            raise DriftError(f"{setting.out} has models of another family: {differ} differ. Raise the version in 'name'.")

    def _model(self, name: str, size: Size, corpus: Corpus, items: Items, setting: Setting) -> float:
        """Train one model, unless it is there, and measure it, unless that is done; its loss."""
        from curate.lm.model import load, num_parameters

        folder = setting.out / name
        settings = {"lr": self.lr, "batch": self.batch, "context": self.context, **asdict(size)}
        known = json.loads((folder / DOWNSTREAM).read_text()) if (folder / DOWNSTREAM).exists() else {}
        if known and known["settings"] != settings:
            raise DriftError(f"{folder} was trained with {known['settings']}, not {settings}. Rename one of them.")
        evals = hashlib.sha256(json.dumps(list(items.values())).encode()).hexdigest()
        if known.get("evals_sha256") == evals:
            return float(known["bits_per_character"])
        training_loss = known["training_loss"] if known else self._train(name, size, corpus, setting)
        model = load(folder).to(setting.device)
        about: dict[str, Any] = {
            "bits_per_character": _measure(model, setting.out / TOKENIZER, items, self.context, setting.device),
            "items": sum(len(pairs) for pairs in items.values()),
            "parameters": num_parameters(model.shape),
            "training_loss": training_loss,
            "settings": settings,
            "evals_sha256": evals,
        }
        (folder / f"{DOWNSTREAM}.tmp").write_text(json.dumps(about, indent=1) + "\n")
        os.replace(folder / f"{DOWNSTREAM}.tmp", folder / DOWNSTREAM)  # last: with it, the model is done
        return float(about["bits_per_character"])

    def _train(self, name: str, size: Size, corpus: Corpus, setting: Setting) -> float:
        """Train a model into its folder, from its last checkpoint; the loss at the end, in nats per token."""
        from curate.lm.model import Shape, num_parameters, save
        from curate.lm.token_stream import token_stream
        from curate.lm.train import Training, train

        stream = token_stream(corpus.texts.to_pylist(), setting.out / TOKENIZER, 0)
        shape = Shape(
            vocab_size=self.vocab_size, width=size.width, layers=size.layers, heads=size.heads, hidden=size.hidden,
            context=self.context, bos=0,
        )  # fmt: skip
        training = Training(
            tokens=size.tokens, batch=self.batch, lr=self.lr, seed=size.seed, checkpoint_every=self.checkpoint_every
        )
        steps = size.tokens // (self.batch * self.context)
        setting.listener.note(
            f"{name}: {num_parameters(shape):,} parameters, {size.tokens:,} of {len(stream):,} tokens, {steps:,} steps"
        )
        setting.listener.phase(name, steps, 0)
        trained = train(
            shape, training, stream, setting.work / name, device=setting.device, threads=self.threads,
            listener=lambda step: setting.listener.advance(name, f"step {step.step}, loss {step.loss:.3f}", None),
        )  # fmt: skip
        save(trained.model, setting.out / name, setting.out / TOKENIZER)
        return float(np.mean(trained.losses[-50:]))


def _measure(model: Any, tokenizer: Path, items: Items, window: int, device: str) -> float:
    """Bits per character of the right continuations: the mean of the files' means, so that a benchmark counts as another."""
    from tokenizers import Tokenizer

    from curate.lm.loss import bits_per_character, continuation_nats

    encode = Tokenizer.from_file(str(tokenizer)).encode_batch
    means = []
    for pairs in items.values():
        contexts, answers = zip(*pairs, strict=True)
        nats = continuation_nats(
            model, [e.ids for e in encode(list(contexts))], [e.ids[: window - 1] for e in encode(list(answers))],
            bos=0, window=window, batch_tokens=8192, device=device,
        )  # fmt: skip
        means.append(float(bits_per_character(nats, answers).mean()))
    return float(np.mean(means))
