"""Documents classified line by line by a bidirectional refiner: probabilities, and the programs made from them.

The same model can also write its programs, with causal attention, after its decision on the document. That costs a forward pass
per token and gives no probabilities; it exists for comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from curate.lm.query import Query, QueryScores
from curate.models.lm_types import Completion
from curate.models.refiner import RefinerCard
from curate.prox import line_prompt
from curate.prox.execute import Chunk
from curate.prox.line_prompt import LinePrompt, combined, line_prompts, overlapping_prompts, shown_lines
from curate.prox.program import decide_document
from curate.stages.refine.lm_stage import LMClient
from curate.storage.response_log import ResponseLog

_YES, _NO = frozenset({line_prompt.KEEP_DOC_ID}), frozenset({line_prompt.DROP_DOC_ID})
_PAIR = (line_prompt.KEEP_ID, line_prompt.REMOVE_ID)


@dataclass(frozen=True)
class LineScores:
    """A refiner's probabilities for a document."""

    keep: float
    """The probability that the document is kept: the highest of its windows. NaN where the model failed."""
    mass: float
    """The probability of `keep_doc()` and `drop_doc()` together: the lowest of the windows."""
    lines: npt.NDArray[np.float32]
    """The probability that each line is kept, shape (lines,); NaN where the model failed on all windows with the line."""
    failed: int
    """Windows on which the model failed."""


@dataclass(frozen=True)
class LineClassifier:
    """A refiner with its card."""

    client: LMClient
    card: RefinerCard

    def prompts(self, text: str, *, overlapping: bool) -> list[LinePrompt]:
        """The prompts of a text, one per window."""
        shown = shown_lines(text.split("\n"), self.client.encoder, self.card.max_line_tokens)
        return (overlapping_prompts if overlapping else line_prompts)(shown, self.card.window)

    def score(self, texts: Sequence[str | None], log: ResponseLog, *, overlapping: bool) -> list[LineScores | None]:
        """The scores of each text; None where there is no text. `overlapping` windows classify most lines twice."""
        prompts = [[] if text is None else self.prompts(text, overlapping=overlapping) for text in texts]
        queries = [Query(prompt.ids, prompt.positions, _PAIR, _YES, _NO) for windows in prompts for prompt in windows]
        scores = self.client.score(queries, log)
        edges = np.cumsum([0, *map(len, prompts)]).tolist()
        return [
            None if text is None else _line_scores(text.count("\n") + 1, windows, scores[start:end])
            for text, windows, (start, end) in zip(texts, prompts, pairwise(edges), strict=True)
        ]

    def generate(self, texts: Sequence[str | None], log: ResponseLog, grammar: bool) -> list[list[Chunk | None] | None]:
        """The programs that the model writes for the windows of each text; None for a window on which it failed."""
        prompts = [[] if text is None else self.prompts(text, overlapping=False) for text in texts]
        ids = [prompt.ids for windows in prompts for prompt in windows]
        programs = self.client.generate(ids, log, self.card.max_program_tokens, line_prompt.GRAMMAR if grammar else None)
        edges = np.cumsum([0, *map(len, prompts)]).tolist()
        return [
            None if text is None else [chunk_of(p, c) if c else None for p, c in zip(windows, programs[start:end], strict=True)]
            for text, windows, (start, end) in zip(texts, prompts, pairwise(edges), strict=True)
        ]


def _line_scores(num_lines: int, prompts: Sequence[LinePrompt], scores: Sequence[QueryScores | None]) -> LineScores:
    answered = [(prompt, score) for prompt, score in zip(prompts, scores, strict=True) if score is not None]
    lines = combined([prompt for prompt, _ in answered], [score.positions for _, score in answered], num_lines)
    # The document is decided by the windows that cover it once; the overlapping ones come after these.
    windows = [score for score in scores[: _num_covering(prompts)] if score is not None and not np.isnan(score.end)]
    keep, mass = max((s.end for s in windows), default=float("nan")), min((s.end_mass for s in windows), default=0.0)
    return LineScores(keep, mass, lines, len(prompts) - len(answered))


def _num_covering(prompts: Sequence[LinePrompt]) -> int:
    """How many of the first prompts cover every line once."""
    stop = 0
    for number, prompt in enumerate(prompts):
        if prompt.first != stop:
            return number
        stop = prompt.stop
    return len(prompts)


def chunk_of(prompt: LinePrompt, completion: Completion) -> Chunk:
    """A window with its program, without the decision on the document before it."""
    first, _, rest = completion.text.partition("\n")
    program = rest if decide_document(first) != "unknown" else completion.text
    return Chunk(prompt.first, prompt.stop, program, offset=prompt.first)
