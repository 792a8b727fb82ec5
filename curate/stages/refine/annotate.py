"""Annotation by a large chat model, as training data for refiners: scores of documents, and programs that clean them.

The model runs behind an OpenAI-compatible endpoint. Its prompts, and the parsing of its replies, are in
`prox/annotation.py`. A document gets `edu_score` and `format_score`, 0 to 5, null where the answer gives none, and `keep`:
edu_score >= 3, or edu_score = 2 and format_score >= 4, null where a score that decides is missing. Its lines are shown in
windows, and for each the model writes three programs, one for each kind of noise. All of them together are `program`, which is
executed before it is written. `program_faults` counts programs that were left out.

Answers are logged: a shard that is tried again asks for none of them twice. Programs are worth writing for documents that stay,
so annotate documents first, choose by `edu_score`, and annotate lines in a second stage.

Source: ProX (Zhou et al. 2024, arXiv:2409.17115, section 2.3 and appendix A.1), where a model of 70 B parameters annotated some
50,000 documents; its cap on what a program may remove is not given. `label_lines` needs no model, but a known main text.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pyarrow as pa
from annotated_types import Ge, Gt, Le

from curate.api.batch import Batch, Kernel, drop_where
from curate.api.stage import LoggedKernel, Stage
from curate.config.options import PatternPath
from curate.errors import SpecError
from curate.models.chat import Chat, Reply
from curate.models.http import JsonServer
from curate.prox.annotation import EDUCATIONAL, EXTRACTION, Merged, keeps, line_questions, merge, score_of, sizes_of
from curate.stages.refine.lm_stage import texts_of
from curate.storage.response_log import ResponseLog

_EDU, _FORMAT, _KEEP, _PROGRAM, _FAULTS = "edu_score", "format_score", "keep", "program", "program_faults"
_RUBRICS = (EDUCATIONAL, EXTRACTION)

Texts = Sequence[str | None]
Ask = Callable[[Sequence[str]], list[Reply]]


@dataclass(frozen=True, kw_only=True)
class Annotate(Stage):
    """Scores and programs by an annotating model. Give one part or both."""

    endpoint: str
    """The address of a server that speaks OpenAI's protocol, without /v1: http://host:port."""
    served_as: str
    """The model's name there. Replies are logged under it: give another model another name."""
    annotate_document: bool = True
    """Columns edu_score, format_score and keep."""
    annotate_lines: bool = True
    """Columns program and program_faults."""
    temperature: Annotated[float, Ge(0)] = 0.0
    max_tokens: Annotated[int, Ge(16)] = 1024
    """Maximum length of a reply. A truncated reply gives no program."""
    window_words: Annotated[int, Ge(16)] = 1000
    """Words of the lines in one prompt. Longer lines are not shown, and are kept."""
    max_removed_frac: Annotated[float, Gt(0), Le(1)] = 0.5
    """A document whose program removes a larger share of its characters is dropped."""
    max_document_words: Annotated[int, Ge(1)] = 20_000
    """Longer documents are dropped: the prompt has the whole text, which the model's context must hold."""
    requests_at_once: Annotated[int, Ge(1)] = 16
    api_key_env: str | None = None
    """The environment variable that holds a key for the endpoint, where workers run."""
    cache: PatternPath | None = None
    """A folder of responses that runs share."""

    exact = False
    serves = True
    reasons = ("no_annotation", "too_long_to_annotate", "too_many_chars_removed")

    def __post_init__(self) -> None:
        if not self.endpoint.startswith(("http://", "https://")):
            raise ValueError(f"endpoint: {self.endpoint!r} must be the address of a server, http://host:port")
        if not (self.annotate_document or self.annotate_lines):
            raise ValueError("annotate_document, annotate_lines: without either there is nothing to ask")

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        document = {_EDU: pa.float32(), _FORMAT: pa.float32(), _KEEP: pa.bool_()}
        lines = {_PROGRAM: pa.string(), _FAULTS: pa.int32()}
        return {**(document if self.annotate_document else {}), **(lines if self.annotate_lines else {})}

    def counts(self, after: Batch) -> Mapping[str, int]:
        """Replies that could not be used, over documents that are kept."""
        after, found = after.filter(~after.dropped), {}
        if self.annotate_document:
            found["scores not given"] = after[_EDU].null_count + after[_FORMAT].null_count
        if self.annotate_lines:
            found["programs left out"] = sum(faults or 0 for faults in after[_FAULTS].to_pylist())
        return {name: count for name, count in found.items() if count}

    def open(self) -> Kernel:
        server = JsonServer("endpoint", self.endpoint, self.requests_at_once, self._key())
        chat = Chat(server, self.served_as, self.temperature, self.max_tokens, self.cache)

        def apply(batch: Batch, log: ResponseLog) -> Batch:
            return self._annotated(batch, lambda prompts: chat.ask(prompts, log))

        weakref.finalize(apply, server.close)
        return LoggedKernel(apply)

    def _key(self) -> str | None:
        if self.api_key_env is None:
            return None
        if not os.environ.get(self.api_key_env):
            raise SpecError(f"api_key_env: the environment has no {self.api_key_env!r}. Set it where workers run.")
        return os.environ[self.api_key_env]

    def _annotated(self, batch: Batch, ask: Ask) -> Batch:
        texts: Texts = texts_of(batch)
        batch = drop_where(batch, np.array([text is None for text in texts], np.bool_), "no_annotation")
        words = np.array([sum(sizes_of(text.split("\n"))) if text is not None else 0 for text in texts], np.int64)
        long, limit = words > self.max_document_words, self.max_document_words
        batch = drop_where(batch, long, "too_long_to_annotate", value=words, limit=limit)
        texts = [None if too_long else text for text, too_long in zip(texts, long.tolist(), strict=True)]
        batch = self._with_scores(batch, texts, ask) if self.annotate_document else batch
        return self._with_programs(batch, texts, ask) if self.annotate_lines else batch

    def _with_scores(self, batch: Batch, texts: Texts, ask: Ask) -> Batch:
        replies = iter(ask([rubric.prompt(text) for text in texts if text is not None for rubric in _RUBRICS]))
        nothing = [None for _ in _RUBRICS]
        rows = [nothing if text is None else [score_of(next(replies).text, rubric) for rubric in _RUBRICS] for text in texts]
        for name, values in ((_EDU, [edu for edu, _ in rows]), (_FORMAT, [form for _, form in rows])):
            batch = batch.put(name, pa.array(values, pa.float32()))
        return batch.put(_KEEP, pa.array([keeps(*row) for row in rows], pa.bool_()))

    def _with_programs(self, batch: Batch, texts: Texts, ask: Ask) -> Batch:
        merged = self._merged(texts, ask)
        batch = batch.put(_PROGRAM, pa.array([m.program if m else None for m in merged], pa.string()))
        batch = batch.put(_FAULTS, pa.array([m.num_faults if m else None for m in merged], pa.int32()))
        batch = drop_where(batch, batch[_PROGRAM].is_null(), "no_annotation")
        removed = np.array([(len(t) - len(m.text)) / len(t) if m and t else 0.0 for m, t in zip(merged, texts, strict=True)])
        limit = self.max_removed_frac
        return drop_where(batch, removed > limit, "too_many_chars_removed", value=removed, limit=limit)

    def _merged(self, texts: Texts, ask: Ask) -> list[Merged | None]:
        """One program for each text."""
        asked = [[] if text is None else line_questions(text, self.window_words) for text in texts]
        replies = iter(ask([question.prompt for questions in asked for question in questions]))
        answers = [[(question, _complete(next(replies))) for question in questions] for questions in asked]
        return [None if text is None else merge(text, mine) for text, mine in zip(texts, answers, strict=True)]


def _complete(reply: Reply) -> str | None:
    """The text of a reply; None if it was truncated."""
    return reply.text if reply.finished else None
