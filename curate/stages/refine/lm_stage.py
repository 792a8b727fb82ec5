"""What the stages that ask a language model about documents have in common: which model, how it is asked, and its answers.

Answers are logged as they come, under keys that hold the model, the way it is asked and the tokens (`answers.py`): a shard
that is tried again asks for none of them a second time, and equal windows are asked once. Prompts go to the model by length,
some hundreds at a time.

When the model raises, it is loaded anew and the prompts are tried in halves, until the one is found that does it: its document
stays as it is and is counted. When it takes the process down, the worker is replaced, and the document found as for any stage.
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
from curate.config.options import AssetPath, DatasetPath, PatternPath
from curate.errors import CurateError, SpecError
from curate.models.llm import open_model
from curate.models.lm_types import Ask, Decided, Model, Serving, Written, identity
from curate.models.refiner import RefinerCard, load_refiner_card
from curate.prox.text_prompt import TemplateName, TextPrompts
from curate.schema import TEXT
from curate.storage.response_log import ResponseLog, key_of

ENGINES = ("vllm", "torch")
_AT_ONCE = 256
FAILED = "engine_failed"

A = TypeVar("A")


@dataclass(frozen=True, kw_only=True)
class LMStage(Stage):
    """The model and how it runs. Either a `scorer`, which knows how it is asked, or a `model` with a `template`."""

    scorer: AssetPath | None = None
    """The folder of a refiner: card.md, weights, tokenizer."""
    model: DatasetPath | None = None
    """Any causal language model: a name of the hub, or a folder if it begins with `.` or `/`."""
    model_revision: str | None = None
    """Of a model on the hub: a commit, so that a run can be repeated."""
    template: TemplateName | None = None
    """What stands around a document in the prompt. Required with `model`; those of gair-prox answer to `plain`."""
    engine: str = "vllm"
    """`vllm`, in the worker; `torch`, for scorers; or the address of a server of the kind of `vllm serve`."""
    served_as: str | None = None
    """The model's name on the server, where it has several."""
    gpus: Annotated[float, Ge(0)] = 0.0
    """Of a worker. 0: vLLM's build for CPUs."""
    cpus: Annotated[float, Gt(0)] = 1.0
    """Of a worker."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None = None
    """Of the weights: float32 for a scorer, which is small, and the model's own for a model."""
    gpu_memory_frac: Annotated[float, Gt(0), Le(1)] = 0.9
    window: Annotated[int, Ge(64)] | None = None
    """Tokens of a document that the model is shown at once. The card's; with `model` 2,000 for documents, 1,500 for chunks."""
    cache: PatternPath | None = None
    """A folder of answers that runs share."""
    self_test: bool = True
    """Ask about a few known pages first, and refuse a model or template that makes nothing of them."""

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
        asked = {"num_cpus": (self.cpus, 1.0), "num_gpus": (self.gpus, 0.0)}
        return {name: amount for name, (amount, default) in asked.items() if amount != default}

    @property
    def packages(self) -> tuple[str, ...]:
        return (*((self.engine,) if self.engine in ENGINES else ()), *(("safetensors",) if self.scorer is not None else ()))

    @property
    def assets(self) -> tuple[str, ...]:
        local = self.model is not None and self.model.startswith((".", "/"))
        return tuple(path for path in (self.scorer, self.model if local else None) if path is not None)

    def asker(self, max_tokens: int, *, reads: bool) -> Asker:
        """The model, loaded; `max_tokens` are those of prompt and answer. A scorer that `reads` writes no programs."""
        name = self.scorer or self.model
        assert name is not None
        serving = Serving(
            name, self.engine, max_tokens, self.dtype or ("float32" if self.scorer else "auto"), self.model_revision,
            self.gpu_memory_frac, reads, self.served_as,
        )  # fmt: skip
        return Asker(serving, self.cache)

    def text_prompts(self, encoder: Any) -> TextPrompts:
        """How a `model` is asked."""
        assert self.template is not None
        return TextPrompts(encoder, self.template, beginning_of(encoder))


class Asker:
    """Puts questions to a model that no log has the answer to."""

    def __init__(self, serving: Serving, cache: str | None) -> None:
        self._serving, self._cache = serving, cache
        self._about = identity(serving.model, serving.revision)
        self.model: Model = open_model(serving)

    @property
    def encoder(self) -> Any:
        return self.model.encoder

    def close(self) -> None:
        self.model.close()

    def decide(self, asks: Sequence[Ask], answers: ResponseLog) -> list[Decided | None]:
        """An answer for each; None where the model failed."""
        keys = [key_of(f"{self._about} decide {_shape_of(ask)}", ask.ids) for ask in asks]
        asked = dict(zip(keys, asks, strict=True))
        found = self._all(asked, answers, lambda some: map(_plain_decided, self.model.decide(some)))
        return [_decided_of(found[key]) for key in keys]

    def write(
        self, prompts: Sequence[Sequence[int]], answers: ResponseLog, max_tokens: int, grammar: str | None
    ) -> list[Written | None]:
        """A program for each; None where the model failed."""
        keys = [key_of(f"{self._about} write {max_tokens} {grammar}", ids) for ids in prompts]
        asked = dict(zip(keys, prompts, strict=True))

        def ask(some: Sequence[Sequence[int]]) -> Iterable[Any]:
            return ([w.text, w.finished, w.num_tokens] for w in self.model.write(some, max_tokens, grammar))

        found = self._all(asked, answers, ask)
        return [Written(*found[key]) if isinstance(found[key], list) else None for key in keys]

    def _all(self, asked: Mapping[str, A], answers: ResponseLog, ask: Callable[[Sequence[A]], Iterable[Any]]) -> dict[str, Any]:
        found = answers.find(asked, self._cache)
        left = sorted((key for key in asked if key not in found), key=lambda key: (_length(asked[key]), key))
        for start in range(0, len(left), _AT_ONCE):
            some = left[start : start + _AT_ONCE]
            new = dict(zip(some, self._survive([asked[key] for key in some], ask), strict=True))
            answers.add(new, self._cache if all(isinstance(answer, list) for answer in new.values()) else None)
            found.update(new)
        return found

    def _survive(self, asks: Sequence[A], ask: Callable[[Sequence[A]], Iterable[Any]]) -> list[Any]:
        """The answers; of one that makes the model raise when it is asked alone, what it raised."""
        try:
            return list(ask(asks))
        except CurateError:
            raise
        except Exception as error:  # whatever an engine raises; it may be broken now
            self.model.close()
            self.model = open_model(self._serving)
            if len(asks) == 1:
                return [{FAILED: f"{type(error).__name__}: {error}"[:500]}]
            half = len(asks) // 2
            return [*self._survive(asks[:half], ask), *self._survive(asks[half:], ask)]


def _length(ask: Any) -> int:
    return len(ask.ids) if isinstance(ask, Ask) else len(ask)


def _shape_of(ask: Ask) -> str:
    return json.dumps([list(ask.places), ask.pair, sorted(ask.yes), sorted(ask.no)])


def _plain_decided(decided: Decided) -> list[Any]:
    """As JSON: probabilities to four digits, which is what a threshold is given with."""
    shares = [None if np.isnan(share) else round(float(share), 4) for share in decided.places]
    return [shares, None if np.isnan(decided.end) else round(decided.end, 6), round(decided.end_mass, 6)]


def _decided_of(answer: Any) -> Decided | None:
    if not isinstance(answer, list):
        return None
    shares, end, mass = answer
    return Decided(np.array(shares, np.float32), float("nan") if end is None else end, mass)


def beginning_of(encoder: Any) -> int | None:
    """The id that a tokenizer puts before a text, if it has one."""
    for name in ("<s>", "<|begin_of_text|>", "<|endoftext|>", "<bos>", "[bos]"):
        if (number := encoder.token_to_id(name)) is not None:
            return int(number)
    return None


def refuse(why: str) -> SpecError:
    """What a self-test raises."""
    return SpecError(
        f"self-test: {why}. Is this the model's template? There are plain, llama2, llama2_bare and chatml; "
        "or set 'self_test: false'."
    )


def texts_of(batch: Batch) -> list[str | None]:
    """What is to be read: null where a verdict stands, and where there is no word."""
    rows = zip(batch.dropped.tolist(), batch[TEXT].to_pylist(), strict=True)
    return [None if gone or not text or not text.strip() else text for gone, text in rows]


def closing(ask: Callable[[Batch, ResponseLog], Batch], asker: Asker) -> LoggedKernel:
    """The kernel; when nobody needs it any more, the model goes too."""
    weakref.finalize(ask, asker.close)
    return LoggedKernel(ask)
