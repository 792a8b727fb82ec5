"""Common parts of the stages that run a language model on documents: options, prompts, logged responses.

Responses are logged as they come (`storage/response_log.py`), under keys of the model, the kind of query and the tokens. A
shard that is retried repeats no query, and equal windows are queried once. Queries are sorted by length and sent in batches.

When the model raises, it is loaded again and the batch is bisected until the query at fault is found; its document stays as it
is and is counted. When the model kills the process, the worker is replaced and the document is found as for any stage.
"""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from annotated_types import Ge, Gt, Le

from curate.api.batch import Batch
from curate.api.stage import LoggedKernel, Stage
from curate.config.options import DatasetPath, PatternPath, ScorerPath
from curate.errors import CurateError, SpecError
from curate.lm.query import Query, QueryScores
from curate.models.llm import open_model
from curate.models.lm_types import Completion, LanguageModel, Serving, identity
from curate.models.refiner import RefinerCard, load_refiner_card
from curate.prox.text_prompt import TemplateName, TextPrompts
from curate.schema import TEXT
from curate.storage.response_log import ResponseLog, key_of

ENGINES = ("vllm", "torch")
_BATCH = 256
FAILED = "engine_failed"

Q = TypeVar("Q")
"""A query, or a prompt of token ids."""


@dataclass(frozen=True, kw_only=True)
class LMStage(Stage):
    """The model and how it runs: either a `scorer`, whose card defines its prompt, or a `model` with a `template`."""

    scorer: ScorerPath | None = None
    """The folder of a refiner: card.md, weights, tokenizer."""
    model: DatasetPath | None = None
    """Any causal language model: a name on the hub, or a folder if it begins with `.` or `/`."""
    model_revision: str | None = None
    """The commit of a model on the hub, so that a run can be repeated."""
    template: TemplateName | None = None
    """The chat template around a document. Required with `model`; the models of gair-prox need `plain`."""
    engine: str = "vllm"
    """`vllm`, in the worker; `torch`, for scorers; or the address of a server such as `vllm serve`."""
    served_as: str | None = None
    """The model's name on the server, where it has several."""
    gpus: Annotated[float, Ge(0)] = 0.0
    """GPUs per worker. With 0, vLLM's build for CPUs runs."""
    cpus: Annotated[float, Gt(0)] = 1.0
    """CPUs per worker."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None = None
    """The dtype of the weights. By default float32 for a scorer, which is small, and a model's own for a model."""
    gpu_memory_frac: Annotated[float, Gt(0), Le(1)] = 0.9
    window: Annotated[int, Ge(64)] | None = None
    """Tokens of a document per prompt. A scorer's card gives it; a `model` has 2,000 for documents and 1,500 for chunks."""
    cache: PatternPath | None = None
    """A folder of responses that runs share."""
    self_test: bool = True
    """Run a few known pages first, and raise an error where the outputs are implausible."""

    exact = False
    serves = True

    def __post_init__(self) -> None:
        if (self.scorer is None) == (self.model is None):
            raise ValueError("give one of 'scorer' (a folder with a card) and 'model' (with a 'template')")
        if self.model is not None and self.template is None:
            raise ValueError(
                "template: a model says not how it wants to be asked. Name one: plain, llama2, llama2_bare, chatml"
            )
        if self.scorer is not None and (self.template or self.window or self.model_revision):
            raise ValueError("template, window, model_revision: a scorer's card says how it is asked. Leave them out")
        if self.engine not in ENGINES and not self.engine.startswith(("http://", "https://")):
            raise ValueError(f"engine: {self.engine!r} must be vllm, torch, or the address of a server, http://host:port")
        if self.engine == "torch" and self.scorer is None:
            raise ValueError("engine: torch runs scorers only. Use vllm, or a server")
        _ = self.card

    @property
    def card(self) -> RefinerCard | None:
        return load_refiner_card(self.scorer) if self.scorer is not None else None

    @property
    def resources(self) -> Mapping[str, float]:
        if self.engine not in ENGINES:
            return {}
        amounts = {"num_cpus": (self.cpus, 1.0), "num_gpus": (self.gpus, 0.0)}
        return {name: amount for name, (amount, default) in amounts.items() if amount != default}

    @property
    def packages(self) -> tuple[str, ...]:
        return (*((self.engine,) if self.engine in ENGINES else ()), *(("safetensors",) if self.scorer is not None else ()))

    @property
    def assets(self) -> tuple[str, ...]:
        local = self.model is not None and self.model.startswith((".", "/"))
        return tuple(path for path in (self.scorer, self.model if local else None) if path is not None)

    def client(self, max_tokens: int, *, bidirectional: bool) -> LMClient:
        """The loaded model. `max_tokens` limits prompt and completion together; a bidirectional scorer generates nothing."""
        name = self.scorer or self.model
        assert name is not None
        serving = Serving(
            name, self.engine, max_tokens, self.dtype or ("float32" if self.scorer else "auto"), self.model_revision,
            self.gpu_memory_frac, bidirectional, self.served_as,
        )  # fmt: skip
        return LMClient(serving, self.cache)

    def text_prompts(self, encoder: Any) -> TextPrompts:
        """The prompts of a `model`."""
        assert self.template is not None
        return TextPrompts(encoder, self.template, bos_id(encoder))


class LMClient:
    """A model behind a log of responses: only queries without a logged response are run."""

    def __init__(self, serving: Serving, cache: str | None) -> None:
        self._serving, self._cache = serving, cache
        self._identity = identity(serving.model, serving.revision)
        self.model: LanguageModel = open_model(serving)

    @property
    def encoder(self) -> Any:
        return self.model.encoder

    def close(self) -> None:
        self.model.close()

    def score(self, queries: Sequence[Query], log: ResponseLog) -> list[QueryScores | None]:
        """The scores of each query; None where the model failed."""
        keys = [key_of(f"{self._identity} decide {_parameters_of(query)}", query.ids) for query in queries]
        by_key = dict(zip(keys, queries, strict=True))
        responses = self._responses(by_key, log, lambda batch: map(_scores_to_json, self.model.score(batch)))
        return [_scores_from_json(responses[key]) for key in keys]

    def generate(
        self, prompts: Sequence[Sequence[int]], log: ResponseLog, max_tokens: int, grammar: str | None
    ) -> list[Completion | None]:
        """The completion of each prompt; None where the model failed."""
        keys = [key_of(f"{self._identity} write {max_tokens} {grammar}", ids) for ids in prompts]
        by_key = dict(zip(keys, prompts, strict=True))

        def run(batch: Sequence[Sequence[int]]) -> Iterable[Any]:
            return ([c.text, c.finished, c.num_tokens] for c in self.model.generate(batch, max_tokens, grammar))

        responses = self._responses(by_key, log, run)
        return [Completion(*responses[key]) if isinstance(responses[key], list) else None for key in keys]

    def _responses(
        self, by_key: Mapping[str, Q], log: ResponseLog, run: Callable[[Sequence[Q]], Iterable[Any]]
    ) -> dict[str, Any]:
        """Responses as JSON, by key: logged ones, and those of the other queries, which are logged."""
        responses = log.find(by_key, self._cache)
        missing = sorted((key for key in by_key if key not in responses), key=lambda key: (_length(by_key[key]), key))
        for start in range(0, len(missing), _BATCH):
            batch = missing[start : start + _BATCH]
            new = dict(zip(batch, self._run_bisecting([by_key[key] for key in batch], run), strict=True))
            log.add(new, self._cache if all(isinstance(response, list) for response in new.values()) else None)
            responses.update(new)
        return responses

    def _run_bisecting(self, queries: Sequence[Q], run: Callable[[Sequence[Q]], Iterable[Any]]) -> list[Any]:
        """The responses; for a query on which the model raises even when it is run alone, the error as JSON."""
        try:
            return list(run(queries))
        except CurateError:
            raise
        except Exception as error:  # whatever an engine raises; it may be broken now
            self.model.close()
            self.model = open_model(self._serving)
            if len(queries) == 1:
                return [{FAILED: f"{type(error).__name__}: {error}"[:500]}]
            half = len(queries) // 2
            return [*self._run_bisecting(queries[:half], run), *self._run_bisecting(queries[half:], run)]


def _length(query: Any) -> int:
    return len(query.ids) if isinstance(query, Query) else len(query)


def _parameters_of(query: Query) -> str:
    return json.dumps([list(query.positions), query.pair, sorted(query.yes), sorted(query.no)])


def _scores_to_json(scores: QueryScores) -> list[Any]:
    """Probabilities rounded to four digits, the precision of thresholds."""
    positions = [None if np.isnan(probability) else round(float(probability), 4) for probability in scores.positions]
    return [positions, None if np.isnan(scores.end) else round(scores.end, 6), round(scores.end_mass, 6)]


def _scores_from_json(response: Any) -> QueryScores | None:
    if not isinstance(response, list):
        return None
    positions, end, mass = response
    return QueryScores(np.array(positions, np.float32), float("nan") if end is None else end, mass)


def bos_id(encoder: Any) -> int | None:
    """The id of a tokenizer's beginning-of-text token, if it has one."""
    for name in ("<s>", "<|begin_of_text|>", "<|endoftext|>", "<bos>", "[bos]"):
        if (number := encoder.token_to_id(name)) is not None:
            return int(number)
    return None


def self_test_error(why: str) -> SpecError:
    """The error of a failed self-test."""
    return SpecError(
        f"self-test: {why}. Is this the model's template? There are plain, llama2, llama2_bare and chatml; "
        "or set 'self_test: false'."
    )


def texts_of(batch: Batch) -> list[str | None]:
    """The texts to run the model on; None for documents that are dropped or have no words."""
    rows = zip(batch.dropped.tolist(), batch[TEXT].to_pylist(), strict=True)
    return [None if dropped or not text or not text.strip() else text for dropped, text in rows]


def kernel_of(apply: Callable[[Batch, ResponseLog], Batch], client: LMClient) -> LoggedKernel:
    """A kernel that closes the model when it is garbage-collected."""
    weakref.finalize(apply, client.close)
    return LoggedKernel(apply)
