"""Documents read by a refiner that decides every line in one forward pass: probabilities, and programs made of them.

Or written by it: the same model, asked the same way, can go on after its decisions and write the program as text. That costs a
forward pass per token, gives no probabilities, and is here to be compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from curate.models.lm_types import Ask, Decided, Written
from curate.models.refiner import RefinerCard
from curate.prox import line_prompt
from curate.prox.execute import Chunk
from curate.prox.line_prompt import LinePrompt, combined, marked_prompts, overlapping_prompts, shown_lines
from curate.prox.program import decide_document
from curate.stages.refine.lm_stage import Asker
from curate.storage.response_log import ResponseLog

_YES, _NO = frozenset({line_prompt.KEEP_DOC_ID}), frozenset({line_prompt.DROP_DOC_ID})
_PAIR = (line_prompt.KEEP_ID, line_prompt.REMOVE_ID)


@dataclass(frozen=True)
class LineScores:
    """What a refiner thinks of a document."""

    keep: float
    """The probability that it should stay: that of its best window. NaN where the model failed."""
    mass: float
    """How likely it is that the model says either, at worst."""
    lines: npt.NDArray[np.float32]
    """The probability that a line stays, shape (lines,); NaN where the model failed on all windows that have it."""
    failed: int
    """How many windows those are."""


@dataclass(frozen=True)
class LineClassifier:
    asker: Asker
    card: RefinerCard

    def prompts(self, text: str, *, overlapping: bool) -> list[LinePrompt]:
        """What is asked about a text, window by window."""
        shown = shown_lines(text.split("\n"), self.asker.encoder, self.card.max_line_tokens)
        return (overlapping_prompts if overlapping else marked_prompts)(shown, self.card.window)

    def read(self, texts: Sequence[str | None], answers: ResponseLog, *, overlapping: bool) -> list[LineScores | None]:
        """A reading for each text; None for a text that is null. `overlapping` windows read most lines twice."""
        prompts = [[] if text is None else self.prompts(text, overlapping=overlapping) for text in texts]
        asks = [Ask(prompt.ids, prompt.places, _PAIR, _YES, _NO) for some in prompts for prompt in some]
        decided = self.asker.decide(asks, answers)
        edges = np.cumsum([0, *map(len, prompts)]).tolist()
        return [
            None if text is None else _reading(text.count("\n") + 1, some, decided[start:end])
            for text, some, (start, end) in zip(texts, prompts, pairwise(edges), strict=True)
        ]

    def write(self, texts: Sequence[str | None], answers: ResponseLog, grammar: bool) -> list[list[Chunk | None] | None]:
        """The programs that the model writes for the windows of each text; None for a window on which it failed."""
        prompts = [[] if text is None else self.prompts(text, overlapping=False) for text in texts]
        asks = [prompt.ids for some in prompts for prompt in some]
        written = self.asker.write(asks, answers, self.card.max_program_tokens, line_prompt.GRAMMAR if grammar else None)
        edges = np.cumsum([0, *map(len, prompts)]).tolist()
        return [
            None if text is None else [chunk_of(p, w) if w else None for p, w in zip(some, written[start:end], strict=True)]
            for text, some, (start, end) in zip(texts, prompts, pairwise(edges), strict=True)
        ]


def _reading(num_lines: int, prompts: Sequence[LinePrompt], decided: Sequence[Decided | None]) -> LineScores:
    answered = [(prompt, answer) for prompt, answer in zip(prompts, decided, strict=True) if answer is not None]
    lines = combined([prompt for prompt, _ in answered], [answer.places for _, answer in answered], num_lines)
    # Windows that overlap come after those that do not, and the document is judged by these.
    last = len(_whole(prompts))
    judged = [answer for answer in decided[:last] if answer is not None and not np.isnan(answer.end)]
    best, mass = max((a.end for a in judged), default=float("nan")), min((a.end_mass for a in judged), default=0.0)
    return LineScores(best, mass, lines, len(prompts) - len(answered))


def _whole(prompts: Sequence[LinePrompt]) -> list[LinePrompt]:
    """Those that show every line once."""
    found: list[LinePrompt] = []
    for prompt in prompts:
        if prompt.first != (found[-1].stop if found else 0):
            break
        found.append(prompt)
    return found


def chunk_of(prompt: LinePrompt, written: Written) -> Chunk:
    """The program, without the decision on the document that stands before it."""
    first, _, rest = written.text.partition("\n")
    program = rest if decide_document(first) != "unknown" else written.text
    return Chunk(prompt.first, prompt.stop, program, offset=prompt.first)
