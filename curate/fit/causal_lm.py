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

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge, Gt

from curate import store
from curate.errors import DataError, DriftError, SpecError
from curate.fit.documents import Corpus, load_corpus
from curate.fit.recipe import Recipe, Setting
from curate.options import PatternPath

Items = dict[str, list[tuple[str, str]]]
BOS = "<|endoftext|>"
DOWNSTREAM = "downstream.json"


@dataclass(frozen=True, kw_only=True)
class Size:
    """One model: its shape, and how many tokens it sees."""

    width: Annotated[int, Ge(1)]
    layers: Annotated[int, Ge(1)]
    heads: Annotated[int, Ge(1)]
    hidden: Annotated[int, Ge(1)]
    tokens: Annotated[int, Ge(1)]
    seed: Annotated[int, Ge(0)] = 0


@dataclass(frozen=True, kw_only=True)
class CausalLMs:
    """A family of small language models."""

    models: dict[str, Size]
    evals: tuple[PatternPath, ...]
    """JSON lines of multiple choice (`query`, `choices`, `gold`) or of texts to go on with (`context`, `continuation`)."""
    max_items: Annotated[int, Ge(1)] = 500
    """Of each file of `evals`, drawn by a hash."""
    vocab_size: Annotated[int, Ge(258)] = 4096
    """Of the byte-level BPE tokenizer, which is trained on the same documents."""
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
        tokenizer = setting.out / "tokenizer.json"
        if not tokenizer.exists():
            setting.listener.note(f"a tokenizer of {self.vocab_size:,} pieces from {len(corpus):,} documents")
            _train_tokenizer(corpus, self.vocab_size, tokenizer)
        items = read_items(self.evals, self.max_items)
        lines = []
        for name, size in self.models.items():
            lines.append(f"{name}: {self._train(name, size, corpus, tokenizer, items, setting):.4f}")
        (setting.out / "recipe.yaml").write_text(recipe.as_text(setting.out), "utf-8")
        return f"bits per character of the right answers: {', '.join(lines)}"

    def _train(self, name: str, size: Size, corpus: Corpus, tokenizer: Path, items: Items, setting: Setting) -> float:
        """Train one model and measure it, unless that is done already; its loss."""
        from curate.probe.model import Shape, num_parameters, save
        from curate.probe.stream import token_stream
        from curate.probe.train import Training, train

        folder = setting.out / name
        settings = {"lr": self.lr, "batch": self.batch, "context": self.context, "vocab_size": self.vocab_size, **asdict(size)}
        if (folder / DOWNSTREAM).exists():
            known = json.loads((folder / DOWNSTREAM).read_text())
            if known["settings"] != settings:
                raise DriftError(f"{folder} was trained with {known['settings']}, not {settings}. Rename one of them.")
            return float(known["bits_per_character"])
        stream = token_stream(corpus.texts.to_pylist(), tokenizer, 0)
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
        save(trained.model, folder, tokenizer)
        found = _measure(trained.model, tokenizer, items, self.context, setting.device)
        about = {
            "bits_per_character": found,
            "items": sum(len(pairs) for pairs in items.values()),
            "parameters": num_parameters(shape),
            "tokens": trained.tokens,
            "training_loss": float(np.mean(trained.losses[-50:])),
            "settings": settings,
        }
        (folder / DOWNSTREAM).write_text(json.dumps(about, indent=1) + "\n")  # last: with it, the model is done
        return found


def _train_tokenizer(corpus: Corpus, vocab_size: int, path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=[BOS], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator((text.as_py() for text in corpus.texts), trainer, len(corpus))
    if tokenizer.get_vocab_size() < vocab_size:
        raise DataError(f"vocab_size: the documents give {tokenizer.get_vocab_size():,} pieces, not {vocab_size:,}. Lower it.")
    tokenizer.save(str(path))


def read_items(patterns: Sequence[str], max_items: int) -> Items:
    """(context, right continuation) of evaluation items by file, at most `max_items` of each, spread evenly over it."""
    found: Items = {}
    for pattern in patterns:
        files = store.expand(pattern)
        if not files:
            raise SpecError(f"evals: {pattern!r} matches no file. Check the path.")
        for file in files:
            with store.open_decompressed(file) as lines:
                items = [item for line in lines if (item := _item(json.loads(line)))]
            if not items:
                raise SpecError(f"evals: {file!r} has neither query, choices, gold nor context, continuation.")
            found[file] = items[:: -(-len(items) // max_items)]
    return found


def _item(row: Mapping[str, Any]) -> tuple[str, str] | None:
    if {"query", "choices", "gold"} <= row.keys() and isinstance(row["gold"], int):
        return str(row["query"]), " " + str(row["choices"][row["gold"]]).strip()
    if {"context", "continuation"} <= row.keys():
        return str(row["context"]).rstrip(), " " + str(row["continuation"]).strip()
    return None


def _measure(model: Any, tokenizer: Path, items: Items, window: int, device: str) -> float:
    """Bits per character of the right continuations: the mean of the files' means, so that a benchmark counts as another."""
    from tokenizers import Tokenizer

    from curate.probe.loss import bits_per_character, continuation_nats

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
