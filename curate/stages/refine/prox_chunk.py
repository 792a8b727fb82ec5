"""Clean documents by programs that a refiner gives: lines are removed, strings replaced.

As in ProX (Zhou et al. 2024, arXiv:2409.17115, section 2.2), a text is split into windows of whole, numbered lines. For each
the model gives a program of `remove_lines`, `normalize` and `keep_chunk`, which is executed on its window (`prox/execute.py`).
Programs are parsed, never evaluated: one with more than `max_errors` errors leaves its window as it is, and a truncated one is
executed up to its last complete call.

A `scorer` classifies all lines in one forward pass: lines whose probability of being kept is below `threshold` are removed, and
the program is made from that. A `model` generates its program token by token, in a grammar where the engine supports one, so
that it is well-formed by construction. Both are recorded: `prox_program`, with line numbers of the document; `prox_status`
(kept, edited, program_error, truncated; engine_failed where the model failed on a window, which then stays as it is); and every
edit.

Decisions. A line that exceeds the window is skipped, as in the paper, and counted; the published code sends it. Edits that
leave ten words or fewer, or remove 95 % of the words, drop the document, as published. A short text that no program changes is
kept; the published code drops it. `executor: published` is the published code, for whole texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
from annotated_types import Ge, Gt, Le

from curate.api.batch import Batch, Kernel, drop_where, edit_rows
from curate.models.refiner import RefinerCard
from curate.prox.execute import Chunk, ExecutionResult, Limits, execute, execute_chunks
from curate.prox.line_masks import removal, shifted
from curate.prox.self_test_pages import GOOD
from curate.prox.text_prompt import GRAMMAR
from curate.schema import TEXT
from curate.stages.refine.line_classifier import LineClassifier, LineScores
from curate.stages.refine.lm_stage import FAILED, LMClient, LMStage, kernel_of, self_test_error, texts_of
from curate.storage.response_log import ResponseLog

_WINDOW = 1500
_TEMPLATE_TOKENS = 64
PROGRAM, STATUS, ERRORS, SKIPPED = "prox_program", "prox_status", "prox_errors", "prox_skipped"
DROPS = ("too_many_words_removed", "too_few_words")


@dataclass(frozen=True)
class Programs:
    """The programs of a text, one per window."""

    chunks: Sequence[Chunk]
    skipped: int = 0
    """Lines that exceed the window."""
    failed: int = 0
    """Windows on which the model failed."""


MakePrograms = Callable[[Sequence[str | None], ResponseLog], list[Programs | None]]


@dataclass(frozen=True, kw_only=True)
class EditingStage(LMStage):
    """Common parts of the stages that edit."""

    threshold: Annotated[float, Ge(0), Le(1)] | None = None
    """For scorers: lines whose probability of being kept is below are removed. By default the card's threshold."""
    max_line_chars: Annotated[int, Ge(1)] | None = 1000
    """For scorers: longer lines are always kept. The model sees only their beginning and end, and a line that long, such as
    extractors make from a layout table, is the page's content if anything is. Null: they are classified like others."""
    overlap: bool = True
    """For scorers: windows overlap, so that every line is far from the edge of a window. Most lines are classified twice."""
    max_removed_frac: Annotated[float, Gt(0), Le(1)] | None = None
    """Programs that remove a larger share of a document's characters are not applied."""
    drop_removed_frac: Annotated[float, Gt(0), Le(1)] | None = 0.95
    """A document that loses at least this share of its words is dropped. Null: none is."""
    min_words: Annotated[int, Ge(0)] = 10
    """An edited document with this many words or fewer is dropped."""
    max_errors: Annotated[int, Ge(0)] = 1
    """A program with more errors is not applied."""
    gate_column: str | None = None
    gate_min: float | None = None
    """Documents whose `gate_column` is at least this are not edited: refining good text harms more than it helps."""

    @property
    def reasons(self) -> tuple[str, ...]:
        return DROPS

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.gate_column is None) != (self.gate_min is None):
            raise ValueError("gate_column and gate_min go together: documents from that score on are left alone")
        if self.threshold is not None and self.scorer is None:
            raise ValueError("threshold: only scorers give probabilities of lines. Leave it out")

    @property
    def reads(self) -> Mapping[str, pa.DataType]:
        return {TEXT: pa.large_string(), **({self.gate_column: pa.float32()} if self.gate_column else {})}

    @property
    def writes(self) -> Mapping[str, pa.DataType]:
        return {TEXT: pa.large_string(), PROGRAM: pa.string(), STATUS: pa.string(), ERRORS: pa.int32(), SKIPPED: pa.int32()}

    @property
    def limits(self) -> Limits:
        return Limits(
            max_errors=self.max_errors, drop_removed_frac=self.drop_removed_frac, min_words=self.min_words,
            max_removed_frac=self.max_removed_frac,
        )  # fmt: skip

    def counts(self, after: Batch) -> Mapping[str, int]:
        """Documents by status, errors in programs, lines that exceed the window."""
        counts = Counter(f"status {status}" for status in after[STATUS].to_pylist() if status is not None)
        for name, column in (("faults in programs", ERRORS), ("lines skipped", SKIPPED)):
            counts[name] += sum(value or 0 for value in after[column].to_pylist())
        return {name: count for name, count in sorted(counts.items()) if count}

    def ungated(self, batch: Batch) -> list[str | None]:
        """The texts that may be edited; None for others."""
        texts = texts_of(batch)
        if self.gate_column is None or self.gate_min is None:
            return texts
        scores = batch[self.gate_column].to_pylist()
        return [None if score is not None and score >= self.gate_min else t for t, score in zip(texts, scores, strict=True)]

    def program_of(self, text: str, scores: LineScores, card: RefinerCard) -> Programs:
        """The program from a scorer's probabilities. Lines without a probability are kept."""
        threshold = card.threshold if self.threshold is None else self.threshold
        remove = scores.lines < threshold
        if self.max_line_chars is not None:
            remove &= np.array([len(line) <= self.max_line_chars for line in text.split("\n")])
        program = removal(remove.tolist())
        return Programs([Chunk(0, len(scores.lines), program)], failed=scores.failed)

    def programs_of(
        self, texts: Sequence[str | None], scores: Sequence[LineScores | None], card: RefinerCard
    ) -> list[Programs | None]:
        """The program of each text; None where the text or its scores are missing."""
        pairs = zip(texts, scores, strict=True)
        return [None if text is None or score is None else self.program_of(text, score, card) for text, score in pairs]

    def check_known_pages(self, per_page: Sequence[Programs | None]) -> None:
        """Raises SpecError unless half of the known pages are edited, and half keep a plausible share of their words."""
        programs = [p for p in per_page if p is not None]
        outcomes = [_outcome(text, p, Limits(), False) for text, p in zip(GOOD, programs, strict=True)]
        shares = [len(o.final.split()) / len(text.split()) for text, o in zip(GOOD, outcomes, strict=True)]
        edited, plausible = sum(bool(o.edits) for o in outcomes), sum(0.30 <= share <= 0.999 for share in shares)
        if 2 * edited < len(GOOD) or 2 * plausible < len(GOOD):
            excerpts = "; ".join(str(c.program)[:80] for p in programs for c in p.chunks[:1])
            raise self_test_error(
                f"of {len(GOOD)} known pages {edited} are edited, and {plausible} keep 30 to 99.9 % of their words. "
                f"Programs: {excerpts!r}"
            )

    def edited(self, batch: Batch, programs: Sequence[Programs | None], compat: bool = False) -> Batch:
        """Execute the programs; record programs, statuses and edits."""
        texts = batch[TEXT].to_pylist()
        outcomes = [_outcome(t, p, self.limits, compat) if p else None for t, p in zip(texts, programs, strict=True)]
        failed = [p is not None and p.failed > 0 for p in programs]
        statuses = [FAILED if f else o.status if o else None for f, o in zip(failed, outcomes, strict=True)]
        columns = {
            PROGRAM: pa.array([shifted(p.chunks) if p else None for p in programs], pa.string()),
            STATUS: pa.array(statuses, pa.string()),
            ERRORS: pa.array([o.num_errors if o else None for o in outcomes], pa.int32()),
            SKIPPED: pa.array([p.skipped if p else None for p in programs], pa.int32()),
        }
        for name, values in columns.items():
            batch = batch.put(name, values)
        drop_reasons = [o.reason if o and o.status == "dropped" else None for o in outcomes]
        for reason in DROPS:
            batch = drop_where(batch, np.array([given == reason for given in drop_reasons], np.bool_), reason)
        rows = {row: (o.text, o.edits) for row, o in enumerate(outcomes) if o and o.status in ("edited", "truncated")}
        return edit_rows(batch, rows)


def _outcome(text: str, programs: Programs, limits: Limits, compat: bool) -> ExecutionResult:
    if not compat:
        return execute_chunks(text, programs.chunks, limits=limits)
    # Programs as they were written. Only the line numbers of a scorer, which count from its window, are shifted.
    per_window = [shifted([chunk]) if chunk.offset else str(chunk.program) for chunk in programs.chunks]
    return execute(text, "\n".join(per_window), compat=True)


@dataclass(frozen=True, kw_only=True)
class ProxChunk(EditingStage):
    """Programs for the windows of each document, and their execution."""

    written: bool = False
    """A scorer generates its programs, as a model does, instead of giving probabilities: for comparison."""
    grammar: bool = True
    """Constrain the generation of programs by a grammar, where the engine supports that."""
    max_tokens: Annotated[int, Ge(16)] = 256
    """Maximum length of a program that a model generates."""
    executor: Literal["strict", "published"] = "strict"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.written and self.scorer is None:
            raise ValueError("written: a model always writes. Leave it out")
        if self.executor == "published" and self.limits != Limits():
            raise ValueError("executor: published has limits of its own. Leave max_removed_frac and the like out")

    def open(self) -> Kernel:
        card = self.card
        if card:
            max_tokens = card.window + (card.max_program_tokens if self.written else 1)
            client = self.client(max_tokens, bidirectional=not self.written)
        else:
            client = self.client((self.window or _WINDOW) + _TEMPLATE_TOKENS + self.max_tokens, bidirectional=False)
        make_programs = self._by_scorer(LineClassifier(client, card)) if card else self._by_model(client)
        if self.self_test:
            self.check_known_pages(make_programs(GOOD, ResponseLog()))

        def apply(batch: Batch, log: ResponseLog) -> Batch:
            return self.edited(batch, make_programs(self.ungated(batch), log), self.executor == "published")

        return kernel_of(apply, client)

    def _by_scorer(self, classifier: LineClassifier) -> MakePrograms:
        if not self.written:
            return lambda texts, log: self.programs_of(
                texts, classifier.score(texts, log, overlapping=self.overlap), classifier.card
            )
        return lambda texts, log: [
            None if chunks is None else Programs([chunk for chunk in chunks if chunk], failed=chunks.count(None))
            for chunks in classifier.generate(texts, log, self.grammar)
        ]

    def _by_model(self, client: LMClient) -> MakePrograms:
        prompts = replace(self.text_prompts(client.encoder), num_bos=1)
        window, grammar = self.window or _WINDOW, GRAMMAR if self.grammar else None

        def make_programs(texts: Sequence[str | None], log: ResponseLog) -> list[Programs | None]:
            per_text = [[] if text is None else prompts.chunks(text.split("\n"), window) for text in texts]
            ids = [prompt.ids for windows in per_text for prompt in windows if not prompt.window.skipped]
            completions = iter(client.generate(ids, log, self.max_tokens, grammar))
            programs: list[Programs | None] = []
            for text, windows in zip(texts, per_text, strict=True):
                answered = [(p.window, next(completions)) for p in windows if not p.window.skipped]
                chunks = [Chunk(w.first, w.stop, c.text) for w, c in answered if c is not None]
                skipped = sum(prompt.window.skipped for prompt in windows)
                programs.append(None if text is None else Programs(chunks, skipped, len(answered) - len(chunks)))
            return programs

        return make_programs
