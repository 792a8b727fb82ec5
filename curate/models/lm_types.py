"""What the backends of language models share: the protocol, the settings, tokenizers, and line classifiers on hidden states."""

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
from curate.lm.query import Query, QueryScores
from curate.storage import store

TOP_LOGPROBS = 20
"""How many of the likeliest next tokens an engine gives log-probabilities for."""
BIDIRECTIONAL: Mapping[str, Any] = {"is_causal": False}
"""vLLM's override of a Llama's configuration that gives it bidirectional attention."""
POOLER: Mapping[str, Any] = {"task": "token_embed"}
"""vLLM's pooler for the hidden states of every token."""
_HIDDEN_AT_ONCE = 2**17
"""Tokens whose hidden states are held in memory."""


@dataclass(frozen=True)
class Completion:
    """Generated text."""

    text: str
    finished: bool
    """Whether the model ended it; False if it was truncated at the maximum length."""
    num_tokens: int


class LanguageModel(Protocol):
    """A loaded model."""

    encoder: Any
    """Its `tokenizers.Tokenizer`."""

    def score(self, queries: Sequence[Query]) -> list[QueryScores]:
        """Probabilities from one forward pass per query."""

    def generate(self, prompts: Sequence[Sequence[int]], max_tokens: int, grammar: str | None) -> list[Completion]:
        """Greedy completions of prompts of token ids. `grammar` is in GBNF; engines without grammars ignore it."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class Serving:
    """A model and the engine that runs it."""

    model: str
    """A folder, or a name on the Hugging Face hub."""
    engine: str
    """`vllm`, `torch`, or the address of a server."""
    max_tokens: int
    """Maximum length of prompt and completion together."""
    dtype: str = "auto"
    revision: str | None = None
    memory_frac: float = 0.9
    """Fraction of a GPU's memory that vLLM reserves."""
    bidirectional: bool = False
    """Run a line classifier with bidirectional attention: it scores queries and generates nothing."""
    served_as: str | None = field(default=None, compare=False)
    """The model's name on the server."""


def identity(model: str, revision: str | None = None) -> str:
    """What identifies a model's weights: the hash of the files in its folder, or name and revision on the hub."""
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
    """The `tokenizers.Tokenizer` of a model for encoding documents: special tokens in a text are encoded as text.

    Raises SpecError where there is no readable `tokenizer.json`.
    """
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


def next_token_scores(query: Query, logprobs: Mapping[int, float]) -> QueryScores:
    """The scores of a query without positions, from the log-probabilities of the likeliest next tokens."""
    yes, no = (sum(float(np.exp(logprobs[token])) for token in ids if token in logprobs) for ids in (query.yes, query.no))
    end = yes / (yes + no) if yes + no else float("nan")
    return QueryScores(np.zeros(0, np.float32), end, yes + no)


class BaseLineClassifier:
    """A bidirectional line classifier in an engine that gives hidden states. The few logits that are needed are computed here.

    Asked for log-probabilities instead, vLLM computes and sorts all logits at all positions and makes objects of them.
    """

    def __init__(self, serving: Serving) -> None:
        from safetensors import safe_open

        with safe_open(Path(serving.model) / "model.safetensors", framework="np") as tensors:
            head = "lm_head.weight" if "lm_head.weight" in tensors.keys() else "model.embed_tokens.weight"  # noqa: SIM118
            self.output_embeddings: npt.NDArray[np.float32] = tensors.get_tensor(head)
        self.encoder = load_encoder(serving.model, None)

    def hidden(self, prompts: Sequence[Sequence[int]]) -> Iterator[npt.NDArray[np.float32]]:
        """The last hidden states of every prompt, shape (tokens, width)."""
        raise NotImplementedError

    def check_bidirectional(self, way_out: str) -> None:
        """Raises SpecError, ending in `way_out`, for an engine without hidden states, or with causal attention.

        Under causal attention, the first hidden states of two prompts with the same first token are equal.
        """
        try:
            one, other = (hidden[0].astype(np.float64) for hidden in self.hidden([[0, *[1] * 30], [0, *[2] * 30]]))
        except (SpecError, KeyError, ValueError) as error:
            raise SpecError(f"engine: no hidden states come from it ({error}). {way_out}") from error
        # Rounding in half precision is a tenth of this.
        if not np.linalg.norm(one - other) > 0.01 * np.linalg.norm(one):
            raise SpecError(f"engine: the model is read forwards only, and this one decides by what follows too. {way_out}")

    def score(self, queries: Sequence[Query]) -> list[QueryScores]:
        scores, start = [], 0
        while start < len(queries):
            stop, tokens = start, 0
            while stop < len(queries) and (stop == start or tokens + len(queries[stop].ids) <= _HIDDEN_AT_ONCE):
                tokens += len(queries[stop].ids)
                stop += 1
            batch = queries[start:stop]
            states = self.hidden([query.ids for query in batch])
            scores += [self._scores_of(query, hidden) for query, hidden in zip(batch, states, strict=True)]
            start = stop
        return scores

    def _scores_of(self, query: Query, hidden: npt.NDArray[np.float32]) -> QueryScores:
        one, other = (hidden[list(query.positions)] @ self.output_embeddings[token] for token in query.pair)
        first_of_pair = 1 / (1 + np.exp(other - one))
        if not query.yes:
            return QueryScores(first_of_pair, float("nan"), 0.0)
        logits = (self.output_embeddings @ hidden[-1]).astype(np.float64)
        unnormalized = np.exp(logits - logits.max())
        yes, no = (float(unnormalized[sorted(ids)].sum()) for ids in (query.yes, query.no))
        end = yes / (yes + no) if yes + no else float("nan")
        return QueryScores(first_of_pair, end, (yes + no) / float(unnormalized.sum()))

    def generate(self, prompts: Sequence[Sequence[int]], max_tokens: int, grammar: str | None) -> list[Completion]:
        raise SpecError("this engine was opened to read in both directions, and a model writes in one. Set 'written'.")
