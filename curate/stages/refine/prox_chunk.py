"""Clean documents by programs that a refiner gives for each: lines removed, strings replaced.

As ProX does it (Zhou et al. 2024, arXiv:2409.17115, section 2.2), a text is cut into windows of whole, numbered lines; for each
the model gives a program of `remove_lines`, `normalize` and `keep_chunk`, which is executed on its window
(`prox/execute.py`). Programs are data: one with more than `max_errors` faults leaves its window as it is, and one that was cut
off counts up to its last whole call.

A `scorer` decides every line in one forward pass: lines whose probability of staying is below `threshold` go, and the program
is written down from that. A `model` writes its program, token by token, in a grammar where the engine has that, so that it is
well-formed by construction. Both are on record: `prox_program`, with document-global line numbers, `prox_status` (kept, edited,
program_error, truncated; engine_failed where the model broke on a window, which then stays as it is), and every edit.

Decisions. A line that is longer than the window is skipped, as the paper says, and counted; the published code sends it. Edits
that leave ten words or fewer, or take 95 % of the words, drop the document, as published; a short text that no program changes
stays, which the published code drops. `executor: published` is that code, for texts as a whole.
"""

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
from curate.stages.refine.lm_stage import FAILED, Asker, LMStage, closing, refuse, texts_of
from curate.storage.response_log import ResponseLog

_WINDOW = 1500
_TEMPLATE_TOKENS = 64
PROGRAM, STATUS, ERRORS, SKIPPED = "prox_program", "prox_status", "prox_errors", "prox_skipped"
DROPS = ("too_many_words_removed", "too_few_words")


@dataclass(frozen=True)
class Programs:
    """What a model wants done to a text."""

    chunks: Sequence[Chunk]
    skipped: int = 0
    """Lines that are too long for its window."""
    failed: int = 0
    """Windows on which the model broke."""


Write = Callable[[Sequence[str | None], ResponseLog], list[Programs | None]]


@dataclass(frozen=True, kw_only=True)
class EditingStage(LMStage):
    """What stages that edit have in common."""

    threshold: Annotated[float, Ge(0), Le(1)] | None = None
    """Of a scorer: lines whose probability of staying is below go. The card's, if not given."""
    max_line_chars: Annotated[int, Ge(1)] | None = 1000
    """Of a scorer: longer lines always stay. It is shown their beginning and end only, and a line that long, as extractors make
    of a table that lays out a page, is its content if anything is. Null: they are decided as others are."""
    overlap: bool = True
    """Of a scorer: windows overlap, so that every line is read far from an edge, and most are read twice."""
    max_removed_frac: Annotated[float, Gt(0), Le(1)] | None = None
    """Programs that remove a larger share of a document's characters are not applied."""
    drop_removed_frac: Annotated[float, Gt(0), Le(1)] | None = 0.95
    """A document that loses this share of its words is dropped. Null: none is."""
    min_words: Annotated[int, Ge(0)] = 10
    """A document that is edited, and left with so many words or fewer, is dropped."""
    max_errors: Annotated[int, Ge(0)] = 1
    """A program with more faults is not applied."""
    gate_column: str | None = None
    gate_min: float | None = None
    """Leave documents alone whose `gate_column` is at least this: refining good text harms more than it helps."""

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
        """Documents by what became of them, faults in programs, lines too long to be shown."""
        found = Counter(f"status {status}" for status in after[STATUS].to_pylist() if status is not None)
        for name, column in (("faults in programs", ERRORS), ("lines skipped", SKIPPED)):
            found[name] += sum(value or 0 for value in after[column].to_pylist())
        return {name: count for name, count in sorted(found.items()) if count}

    def ungated(self, batch: Batch) -> list[str | None]:
        """The texts that may be edited; null for others."""
        texts = texts_of(batch)
        if self.gate_column is None or self.gate_min is None:
            return texts
        scores = batch[self.gate_column].to_pylist()
        return [None if score is not None and score >= self.gate_min else t for t, score in zip(texts, scores, strict=True)]

    def chunks_of(self, text: str, reading: LineScores, card: RefinerCard) -> Programs:
        """The program that a scorer's probabilities make; of lines it has none for, nothing is said."""
        limit = card.threshold if self.threshold is None else self.threshold
        remove = reading.lines < limit
        if self.max_line_chars is not None:
            remove &= np.array([len(line) <= self.max_line_chars for line in text.split("\n")])
        program = removal(remove.tolist())
        return Programs([Chunk(0, len(reading.lines), program)], failed=reading.failed)

    def programs_of(
        self, texts: Sequence[str | None], readings: Sequence[LineScores | None], card: RefinerCard
    ) -> list[Programs | None]:
        """Of the texts that there are, with a reading."""
        pairs = zip(texts, readings, strict=True)
        return [None if text is None or reading is None else self.chunks_of(text, reading, card) for text, reading in pairs]

    def check_known_pages(self, found: Sequence[Programs | None]) -> None:
        """At least half of the known pages get an operation, and half keep a plausible share of their words."""
        programs = [p for p in found if p is not None]
        outcomes = [_outcome(text, p, Limits(), False) for text, p in zip(GOOD, programs, strict=True)]
        shares = [len(o.final.split()) / len(text.split()) for text, o in zip(GOOD, outcomes, strict=True)]
        edited, plausible = sum(bool(o.edits) for o in outcomes), sum(0.30 <= share <= 0.999 for share in shares)
        if 2 * edited < len(GOOD) or 2 * plausible < len(GOOD):
            said = "; ".join(str(c.program)[:80] for p in programs for c in p.chunks[:1])
            raise refuse(
                f"of {len(GOOD)} known pages {edited} are edited, and {plausible} keep 30 to 99.9 % of their words. "
                f"Programs: {said!r}"
            )

    def edited(self, batch: Batch, programs: Sequence[Programs | None], compat: bool = False) -> Batch:
        """Execute the programs, and write down what they were and what became of them."""
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
        dropped = [o.reason if o and o.status == "dropped" else None for o in outcomes]
        for reason in DROPS:
            batch = drop_where(batch, np.array([given == reason for given in dropped], np.bool_), reason)
        rows = {row: (o.text, o.edits) for row, o in enumerate(outcomes) if o and o.status in ("edited", "truncated")}
        return edit_rows(batch, rows)


def _outcome(text: str, programs: Programs, limits: Limits, compat: bool) -> ExecutionResult:
    if not compat:
        return execute_chunks(text, programs.chunks, limits=limits)
    # As it was written, bugs and all; only a scorer's numbers, which count from its window, are moved.
    written = [shifted([chunk]) if chunk.offset else str(chunk.program) for chunk in programs.chunks]
    return execute(text, "\n".join(written), compat=True)


@dataclass(frozen=True, kw_only=True)
class ProxChunk(EditingStage):
    """Programs for the windows of each document, executed."""

    written: bool = False
    """Have a scorer write its programs too, as a model does, instead of reading its probabilities: for comparison."""
    grammar: bool = True
    """Programs are written in a grammar, which vLLM follows."""
    max_tokens: Annotated[int, Ge(16)] = 256
    """Of a program that a model writes."""
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
            asker = self.asker(card.window + (card.max_program_tokens if self.written else 1), reads=not self.written)
        else:
            asker = self.asker((self.window or _WINDOW) + _TEMPLATE_TOKENS + self.max_tokens, reads=False)
        write = self._by_scorer(LineClassifier(asker, card)) if card else self._by_model(asker)
        if self.self_test:
            self.check_known_pages(write(GOOD, ResponseLog()))

        def ask(batch: Batch, answers: ResponseLog) -> Batch:
            return self.edited(batch, write(self.ungated(batch), answers), self.executor == "published")

        return closing(ask, asker)

    def _by_scorer(self, reader: LineClassifier) -> Write:
        if not self.written:
            return lambda texts, answers: self.programs_of(
                texts, reader.read(texts, answers, overlapping=self.overlap), reader.card
            )
        return lambda texts, answers: [
            None if chunks is None else Programs([chunk for chunk in chunks if chunk], failed=chunks.count(None))
            for chunks in reader.write(texts, answers, self.grammar)
        ]

    def _by_model(self, asker: Asker) -> Write:
        prompts = replace(self.text_prompts(asker.encoder), num_bos=1)
        window, grammar = self.window or _WINDOW, GRAMMAR if self.grammar else None

        def write(texts: Sequence[str | None], answers: ResponseLog) -> list[Programs | None]:
            asked = [[] if text is None else prompts.chunks(text.split("\n"), window) for text in texts]
            ids = [prompt.ids for some in asked for prompt in some if not prompt.window.skipped]
            written = iter(asker.write(ids, answers, self.max_tokens, grammar))
            found: list[Programs | None] = []
            for text, some in zip(texts, asked, strict=True):
                answered = [(p.window, next(written)) for p in some if not p.window.skipped]
                chunks = [Chunk(w.first, w.stop, a.text) for w, a in answered if a is not None]
                skipped = sum(prompt.window.skipped for prompt in some)
                found.append(None if text is None else Programs(chunks, skipped, len(answered) - len(chunks)))
            return found

        return write
