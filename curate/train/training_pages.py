"""Pages as training data for refiners: lines with their labels, augmented and cut into windows anew in every epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from curate.errors import SpecError
from curate.models.lm_types import load_encoder
from curate.prox import line_prompt
from curate.prox.align import words_of
from curate.prox.line_masks import removed_lines
from curate.prox.line_prompt import LinePrompt, line_prompts, program_ids, shown_lines
from curate.train.documents import Corpus
from curate.train.prox_refiner import RefinerOptions

if TYPE_CHECKING:
    from pathlib import Path

    from curate.lm.finetune import Example

PROGRAM = "program"
_TEACHER_WEIGHT = 0.85
"""Weight of the teachers' probability in a line's target; the rest is its label."""
_DOCUMENT_WEIGHT, _PROGRAM_WEIGHT = 4.0, 0.5


@dataclass(frozen=True)
class TrainingPage:
    """A document and its targets. All arrays have the shape (lines,)."""

    lines: Sequence[str]
    shown: Sequence[Sequence[int]]
    """The tokens of each line in the prompt."""
    remove: npt.NDArray[np.bool_]
    """The label: whether the program removes the line."""
    words: npt.NDArray[np.int64]
    """Words per line."""
    keep: npt.NDArray[np.float32]
    """The target: the probability that the line is kept."""

    def distilled(self, probabilities: npt.NDArray[np.float32]) -> TrainingPage:
        """The page with targets that are mostly the teachers' probabilities of keeping each line. Shape (lines,)."""
        return replace(self, keep=(1 - _TEACHER_WEIGHT) * self.keep + _TEACHER_WEIGHT * probabilities)

    def take(self, rows: npt.NDArray[np.int64]) -> TrainingPage:
        """A page of some of the lines, by number."""
        numbers = rows.tolist()
        lines, shown = [self.lines[row] for row in numbers], [self.shown[row] for row in numbers]
        return TrainingPage(lines, shown, self.remove[rows], self.words[rows], self.keep[rows])

    def with_content_of(self, other: TrainingPage) -> TrainingPage:
        """This page's lines before and after its content, around the content of another page."""
        (here, here_end), (there, there_end) = self.content(), other.content()
        around = self.take(np.r_[0:here, here_end : len(self.lines)])
        inside = other.take(np.arange(there, there_end))
        return TrainingPage(
            [*around.lines[:here], *inside.lines, *around.lines[here:]],
            [*around.shown[:here], *inside.shown, *around.shown[here:]],
            np.concatenate([around.remove[:here], inside.remove, around.remove[here:]]),
            np.concatenate([around.words[:here], inside.words, around.words[here:]]),
            np.concatenate([around.keep[:here], inside.keep, around.keep[here:]]),
        )

    def content(self) -> tuple[int, int]:
        """The first line that is kept, and the line after the last; (0, 0) where none is."""
        kept = np.flatnonzero(~self.remove)
        return (int(kept[0]), int(kept[-1]) + 1) if len(kept) else (0, 0)


def training_pages(corpus: Corpus, tokenizer: Path, max_line_tokens: int) -> list[TrainingPage]:
    """The pages of a corpus with a column `program`. Raises SpecError for a program that cannot be parsed."""
    encoder = load_encoder(str(tokenizer.parent), None)
    pages = []
    for row, text in enumerate(corpus.texts.to_pylist()):
        lines = text.split("\n")
        try:
            remove = np.array(removed_lines(corpus.columns[PROGRAM][row], len(lines)), np.bool_)
        except (ValueError, TypeError) as error:
            raise SpecError(f"document {corpus.ids[row]!r}: its program cannot be read: {error}") from error
        words = np.array([len(words_of(line)) for line in lines])
        shown = shown_lines(lines, encoder, max_line_tokens)
        pages.append(TrainingPage(lines, shown, remove, words, 1 - remove.astype(np.float32)))
    return pages


def epoch_examples(pages: Sequence[TrainingPage], options: RefinerOptions, epoch: int) -> list[Example]:
    """Every page once, augmented: mixed with another, without some of its lines, and cut into windows from a random line."""
    draw = np.random.Generator(np.random.PCG64([options.seed, epoch, 1]))
    examples = []
    for page in pages:
        if draw.random() < options.mixed_frac:
            page = page.with_content_of(pages[int(draw.integers(len(pages)))])
        short = draw.random() < options.shortened_frac
        left_out = draw.uniform(0.3, 0.95) if short else draw.uniform(0.0, 2 * options.left_out_frac)
        part = page.take(np.flatnonzero(draw.random(len(page.shown)) >= left_out))
        start = int(draw.integers(0, max(1, min(40, len(part.shown) // 2)))) if draw.random() < 0.5 else 0
        for prompt in line_prompts(part.shown, options.window, start):
            example = _example(part, prompt, options, with_program=draw.random() < options.written_frac)
            masked = (draw.random(len(example.ids)) < options.hidden_frac) & (example.ids >= len(line_prompt.SPECIAL))
            examples.append(replace(example, ids=np.where(masked, line_prompt.CUT_ID, example.ids)))
    return examples


def _example(page: TrainingPage, prompt: LinePrompt, options: RefinerOptions, *, with_program: bool) -> Example:
    """The targets of a window: its lines at their marks, the decision on the document, and, if it is wanted and short enough,
    the program. A window with a program has causal attention."""
    from curate.lm.finetune import Example

    lines = slice(prompt.first, prompt.stop)
    remove, words, keep = page.remove[lines], page.words[lines], page.keep[lines]
    end = len(prompt.ids)
    has_content = options.has_content(int(words[~remove].sum()), int(words.sum()))
    decision = line_prompt.KEEP_DOC_ID if has_content else line_prompt.DROP_DOC_ID
    program = program_ids(remove.tolist()) if with_program else []
    causal = 0 < len(program) < options.window // 2
    program = program if causal else []
    ids = [*prompt.ids, decision, *program] if causal else prompt.ids
    positions = [*prompt.positions, *prompt.positions, end - 1, *range(end, end + len(program))]
    targets = [*[line_prompt.KEEP_ID] * len(keep), *[line_prompt.REMOVE_ID] * len(keep), decision, *program]
    # Longer lines weigh more, since words are what counts in the end; a blank line follows its neighbours anyway.
    line = 0.2 + 0.4 * np.log2(1 + words)
    weights = np.concatenate([line * keep, line * (1 - keep), [_DOCUMENT_WEIGHT], np.full(len(program), _PROGRAM_WEIGHT)])
    return Example(np.array(ids), np.array(positions), np.array(targets), weights.astype(np.float32), causal)
