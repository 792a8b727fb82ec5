"""What language models of every backend have in common: questions, answers, what serves them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from curate.errors import SpecError
from curate.storage import store

TOP = 20
"""Likeliest first words of an answer that are looked at."""


MAX_CONCURRENT_REQUESTS = 32


_HIDDEN_AT_ONCE = 2**17
"""Tokens whose hidden states are held."""


@dataclass(frozen=True)
class Ask:
    """A prompt to decide on."""

    ids: Sequence[int]
    places: Sequence[int] = ()
    """Of a reader: where something is decided."""
    pair: tuple[int, int] = (0, 0)
    """At `places`, the probability of the first against the second."""
    yes: frozenset[int] = frozenset()
    no: frozenset[int] = frozenset()
    """At the end, the probability that the answer begins with one of these against one of those."""


@dataclass(frozen=True)
class Decided:
    places: npt.NDArray[np.float32]
    """Shape (places,)."""
    end: float
    """NaN where neither answer is among the likeliest."""
    end_mass: float
    """How likely it is that either comes."""


@dataclass(frozen=True)
class Written:
    text: str
    finished: bool
    """The model came to an end; it was not cut off."""
    num_tokens: int


class Model(Protocol):
    """A model that is loaded."""

    encoder: Any
    """Its `tokenizers.Tokenizer`."""

    def decide(self, asks: Sequence[Ask]) -> list[Decided]: ...
    def write(self, prompts: Sequence[Sequence[int]], max_tokens: int, grammar: str | None) -> list[Written]: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Serving:
    """Which model, where, and how much of it."""

    model: str
    """A folder, or a name of the hub."""
    engine: str
    """`vllm`, `torch`, or the address of a server."""
    max_tokens: int
    """Of prompt and answer together."""
    dtype: str = "auto"
    revision: str | None = None
    memory_frac: float = 0.9
    """Of a GPU's memory, for vLLM."""
    reads: bool = False
    """A model of our own that reads in both directions and writes nothing."""
    served_as: str | None = field(default=None, compare=False)
    """The model's name on the server."""


def identity(model: str, revision: str | None = None) -> str:
    """What a model is: the hash of its files; of one on the hub, name and revision."""
    return _folder_hash(model, _state_of(model)) if os.path.isdir(model) else f"{model}@{revision or 'main'}"


def _state_of(folder: str) -> tuple[tuple[str, int, int], ...]:
    files = sorted(path for path in Path(folder).iterdir() if path.is_file())
    return tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files)


@lru_cache(maxsize=16)
def _folder_hash(folder: str, state: tuple[tuple[str, int, int], ...]) -> str:
    needed = [path for path, _, _ in state if path.endswith((".json", ".safetensors", ".bin", ".model"))]
    parts = [f"{Path(path).name}\0{store.file_hash(path)}" for path in needed if Path(path).name != "metrics.json"]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def load_encoder(model: str, revision: str | None) -> Any:
    """The tokenizer of a model as it encodes documents: a special token in a text is text."""
    from tokenizers import Tokenizer

    path = Path(model) / "tokenizer.json"
    try:
        loaded = (
            Tokenizer.from_file(str(path)) if os.path.isdir(model) else Tokenizer.from_pretrained(model, revision or "main")
        )
    except Exception as error:  # the library raises no class of its own
        raise SpecError(f"model: {model!r} has no tokenizer.json that can be read: {error}") from error
    loaded.no_truncation()
    loaded.no_padding()
    loaded.encode_special_tokens = True
    return loaded


class BaseLineClassifier:
    """A scorer of ours: whoever serves it gives what logits are made of, and the few that are needed are made here.

    Asked for log-probabilities instead, vLLM makes all logits at all places, sorts them, and puts them into objects.
    """

    def __init__(self, serving: Serving) -> None:
        from safetensors import safe_open

        with safe_open(Path(serving.model) / "model.safetensors", framework="np") as tensors:
            head = "lm_head.weight" if "lm_head.weight" in tensors.keys() else "model.embed_tokens.weight"  # noqa: SIM118
            self._embeddings = tensors.get_tensor(head)
        self.encoder = load_encoder(serving.model, None)

    def hidden(self, prompts: Sequence[Sequence[int]]) -> Iterator[npt.NDArray[np.float32]]:
        """Hidden states (tokens, width) of every prompt, before they are turned to logits."""
        raise NotImplementedError

    def check(self, way_out: str) -> None:
        """Ask two prompts that begin alike. A model that reads forwards only knows nothing there of what follows: SpecError."""
        try:
            one, other = (hidden[0].astype(np.float64) for hidden in self.hidden([[0, *[1] * 30], [0, *[2] * 30]]))
        except (SpecError, KeyError, ValueError) as error:
            raise SpecError(f"engine: no hidden states come from it ({error}). {way_out}") from error
        # Rounding in half precision is a tenth of this.
        if not np.linalg.norm(one - other) > 0.01 * np.linalg.norm(one):
            raise SpecError(f"engine: the model is read forwards only, and this one decides by what follows too. {way_out}")

    def decide(self, asks: Sequence[Ask]) -> list[Decided]:
        found, start = [], 0
        while start < len(asks):
            stop, tokens = start, 0
            while stop < len(asks) and (stop == start or tokens + len(asks[stop].ids) <= _HIDDEN_AT_ONCE):
                tokens += len(asks[stop].ids)
                stop += 1
            some = asks[start:stop]
            states = self.hidden([ask.ids for ask in some])
            found += [self.as_decided(ask, hidden) for ask, hidden in zip(some, states, strict=True)]
            start = stop
        return found

    def as_decided(self, ask: Ask, hidden: npt.NDArray[np.float32]) -> Decided:
        one, other = (hidden[list(ask.places)] @ self._embeddings[number] for number in ask.pair)
        shares = 1 / (1 + np.exp(other - one))
        if not ask.yes:
            return Decided(shares, float("nan"), 0.0)
        logits = (self._embeddings @ hidden[-1]).astype(np.float64)
        likely = np.exp(logits - logits.max())
        yes, no = (float(likely[sorted(ids)].sum()) for ids in (ask.yes, ask.no))
        return Decided(shares, yes / (yes + no) if yes + no else float("nan"), (yes + no) / float(likely.sum()))

    def write(self, prompts: Sequence[Sequence[int]], max_tokens: int, grammar: str | None) -> list[Written]:
        raise SpecError("this engine was opened to read in both directions, and a model writes in one. Set 'written'.")


BIDIRECTIONAL, POOLER = {"is_causal": False}, {"task": "token_embed"}
"""What vLLM is told of a Llama that reads in both directions, and of whose hidden states are wanted."""


def as_decided(ask: Ask, first: Mapping[int, float]) -> Decided:
    yes, no = (sum(float(np.exp(first[token])) for token in ids if token in first) for ids in (ask.yes, ask.no))
    end = yes / (yes + no) if yes + no else float("nan")
    return Decided(np.zeros(0, np.float32), end, yes + no)
